#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_onnx
short_description: Inspect or build the engine's environment, repack weights, or stage the engine's part of a release
version_added: 0.1.0
description:
  - One command on the host. Check mode says what would change; stage supports diff.
  - Called by the role C(phi4_edge.edge.onnx); its options are no interface of their own and may change with any
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
      - inspect
      - build
      - repack
      - stage
  engine:
    description:
      - Directory of the environment (inspect, build and repack).
    type: path
  wheelhouse:
    description:
      - Directory of the wheels on the host (build).
    type: path
  python:
    description:
      - Version of Python that the wheels are for, such as 3.13 (build).
    type: str
  model:
    description:
      - Directory of the model on the host (repack).
    type: path
  repacked:
    description:
      - Directory for weights as the runtime's kernels read them (repack).
    type: path
  threads:
    description:
      - Threads to pack them with (repack).
    type: int
"""

EXAMPLES = r"""
- name: Inspect the engine's environment
  phi4_edge.edge.phi4_onnx:
    do: inspect
    engine: /opt/phi4-edge/engines/onnx-cp313
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
"""
