#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_artifact
short_description: Make a directory on the host equal to one on the controller
version_added: 0.1.0
description:
  - Compares the controller's files with their manifest, asks the host what it holds, and sends only what is missing.
  - Each piece and each file is verified by SHA-256 on the host; the finished directory is renamed into place.
  - Called by the role C(phi4_edge.edge.artifact); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
extends_documentation_fragment:
  - phi4_edge.edge.options.push
options:
  name:
    description:
      - What the directory is called in messages.
    type: str
    required: true
  source:
    description:
      - Directory on the controller that holds a manifest.json.
    type: path
    required: true
  digest:
    description:
      - SHA-256 of the content that is wanted.
    type: str
  wheels:
    description:
      - Python version and architecture (as uname has it) that the files are wheels of the ONNX engine for.
      - They must be exactly those that this installation's lock names.
    type: dict
  skip:
    description:
      - Files that the host does without.
    type: list
    elements: str
  destination:
    description:
      - Directory on the host.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Push a model
  phi4_edge.edge.phi4_artifact:
    name: tiny
    source: /srv/phi4-edge/store/artifacts/3f0c
    digest: 3f0c
    destination: /var/lib/phi4-edge/models/3f0c
    staging: /var/lib/phi4-edge/staging
    piece_bytes: 16777216
    reserve_bytes: 67108864
    retries: 3
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
"""
