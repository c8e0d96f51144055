#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_ollama
short_description: Make Ollama's store on the host, or stage the engine's part of a release
version_added: 0.1.0
description:
  - One command on the host, two where the store is not there yet. Check mode says what would change.
  - Called by the role C(phi4_edge.edge.ollama); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
extends_documentation_fragment:
  - phi4_edge.edge.options.stage
options:
  do:
    description:
      - What to do.
    type: str
    required: true
    choices:
      - create
      - stage
  plan:
    description:
      - The host's plan (create).
    type: dict
  paths:
    description:
      - 'Directories on the host: engine, model, store, staging (create).'
    type: dict
  image:
    description:
      - Id of the image on the host; empty where Ollama runs under systemd (create).
    type: str
  library:
    description:
      - 'Name and digest in Ollama''s library; empty: the pushed model (create).'
    type: dict
"""

EXAMPLES = r"""
- name: Stage the engine's part of a release
  phi4_edge.edge.phi4_ollama:
    do: stage
    root: /opt/phi4-edge
    release: r-0123456789ab
    links: {store: /var/lib/phi4-edge/stores/4f1d}
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
"""
