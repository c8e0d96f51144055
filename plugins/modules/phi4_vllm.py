#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_vllm
short_description: Check the checkpoint, or stage the engine's part of a release
version_added: 0.1.0
description:
  - One command on the host. Check mode says what would change; stage supports diff.
  - Called by the role C(phi4_edge.edge.vllm); its options are no interface of their own and may change with any
    version.
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
      - check
      - stage
  model:
    description:
      - Directory of the checkpoint on the host (check).
    type: path
  quantization:
    description:
      - What the plan says that it is (check).
    type: str
"""

EXAMPLES = r"""
- name: Check that the checkpoint is what was planned
  phi4_edge.edge.phi4_vllm:
    do: check
    model: /var/lib/phi4-edge/models/3f0c
    quantization: bf16
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
"""
