#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_nvidia
short_description: Driver, container toolkit and CDI devices of a host with an NVIDIA GPU
version_added: 0.1.0
description:
  - At most one command on the host. Check mode says what would change.
  - Called by the role C(phi4_edge.edge.nvidia_runtime); its options are no interface of their own and may change
    with any version.
author:
  - The phi4-edge authors (!UNKNOWN)
options:
  do:
    description:
      - What to do.
    type: str
    required: true
    choices:
      - driver
      - toolkit
      - settings
      - cdi
      - nouveau
      - remove
  facts:
    description:
      - Document of the probe (driver and toolkit).
    type: dict
  branch:
    description:
      - Branch of the driver (driver).
    type: str
  version:
    description:
      - Version of the container toolkit (toolkit).
    type: str
  url:
    description:
      - Base URL of NVIDIA's repository (toolkit).
    type: str
  accepted:
    description:
      - Components that may be below their floor (toolkit).
    type: list
    elements: str
  gpu:
    description:
      - UUID of the planned GPU; empty for any (cdi).
    type: str
  spec:
    description:
      - Our own CDI specification (cdi and remove).
    type: path
  path:
    description:
      - File that keeps nouveau away (nouveau).
    type: path
"""

EXAMPLES = r"""
- name: Have the GPU among the CDI devices
  phi4_edge.edge.phi4_nvidia:
    do: cdi
    gpu: ""
    spec: /etc/cdi/phi4-edge-nvidia.yaml
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
"""
