#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_release
short_description: Stage, rehearse, switch, roll back or remove a release on the host
version_added: 0.1.0
description:
  - One command on the host. Check mode says what would change; stage supports diff.
  - Called by the role C(phi4_edge.edge.service); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
extends_documentation_fragment:
  - phi4_edge.edge.options.folders
options:
  do:
    description:
      - What to do. C(remove) leaves the files below O(root) and O(state) to C(erase).
    type: str
    required: true
    choices:
      - stage
      - verify
      - rehearse
      - rest
      - switch
      - committed
      - previous
      - rollback
      - remove
      - erase
  release:
    description:
      - Release that is staged, verified, rehearsed or switched to.
    type: str
  plan:
    description:
      - Its plan (stage and rehearse); all of its text files are made from it.
    type: dict
  images:
    description:
      - Ids of its images on the host by service (stage and rehearse).
    type: dict
  links:
    description:
      - Symlinks of the release by name (stage).
    type: dict
  restart:
    description:
      - Restart even where nothing that systemd knows of changed (switch).
    type: bool
  to:
    description:
      - Release to go back to (previous); the one before the committed one without.
    type: str
  failed:
    description:
      - Release that is gone back from (rollback).
    type: str
  keep_trust:
    description:
      - The keys that the host trusts stay (erase).
    type: bool
  why:
    description:
      - 'Returned as it is (rollback): if going back fails too, the first reason must not be lost.'
    type: str
"""

EXAMPLES = r"""
- name: Switch to a release that is staged
  phi4_edge.edge.phi4_release:
    do: switch
    root: /opt/phi4-edge
    state: /var/lib/phi4-edge
    release: r-0123456789ab
    restart: false
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
ansible_facts:
  description: Sets C(phi4_plan) and C(phi4_images) (previous and committed).
  returned: success
  type: dict
"""
