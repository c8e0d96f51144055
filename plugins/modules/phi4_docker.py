#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_docker
short_description: Install packages, merge /etc/docker/daemon.json, restart Docker where that is due, take it
  all back
version_added: 0.1.0
description:
  - Few commands on the host. Check mode says what would change; merge supports diff.
  - Called by the role C(phi4_edge.edge.docker); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
options:
  do:
    description:
      - What to do.
    type: str
    required: true
    choices:
      - inspect
      - packages
      - merge
      - run
      - reload
      - restore
  state:
    description:
      - Directory in which it is remembered what was done (merge run reload restore).
    type: path
  path:
    description:
      - Docker's configuration file (merge run reload restore).
    type: path
  source:
    description:
      - 'Where Docker comes from (inspect): docker or distribution.'
    type: str
  pins:
    description:
      - Upstream versions of Docker's packages (inspect).
    type: dict
  url:
    description:
      - Base URL of Docker's repositories (inspect).
    type: str
  key_url:
    description:
      - 'Address of the key, or a file on the controller; empty: beside the repository.'
    type: str
  accepted:
    description:
      - Components that may be below their floor (inspect packages run).
    type: list
    elements: str
  packages:
    description:
      - 'Upstream version by package; empty: what the host''s sources offer (packages).'
    type: dict
  repository:
    description:
      - 'Vendor''s repository; empty: the host''s own sources (packages).'
    type: dict
  fingerprint:
    description:
      - Of the repository's only key (packages).
    type: str
  replaces:
    description:
      - Expression for addresses of older sources of the same repository (packages).
    type: str
  remove:
    description:
      - Packages that must go first (packages).
    type: list
    elements: str
  components:
    description:
      - Name in cve_floors.yml by package (packages).
    type: dict
  lock_seconds:
    description:
      - How long to wait for another package manager (packages).
    type: int
  owner:
    description:
      - Role whose settings are merged (merge).
    type: str
  defaults:
    description:
      - Settings that give way to what is there (merge).
    type: dict
  required:
    description:
      - 'Settings that must be so: a different value there is a failure (merge).'
    type: dict
"""

EXAMPLES = r"""
- name: Merge settings into Docker's configuration
  phi4_edge.edge.phi4_docker:
    do: merge
    state: /var/lib/phi4-edge
    path: /etc/docker/daemon.json
    owner: docker
    defaults: {live-restore: true}
    required: {}
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
"""
