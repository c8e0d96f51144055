#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_bench
short_description: Measures what an engine takes of its host, and keeps what was found there
version_added: 0.1.0
description:
  - For hosts that only Ansible reaches; C(phi4-edge bench) asks all others by itself.
  - Called by the role C(phi4_edge.edge.bench); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
extends_documentation_fragment:
  - phi4_edge.edge.options.folders
options:
  do:
    description:
      - What is done.
      - C(usage) reads for some seconds what the engine takes of memory and processor, and changes nothing.
      - C(keep) writes the record of a benchmark beside the receipt.
    type: str
    required: true
    choices: [usage, keep]
  wish:
    description:
      - How long and of what, or the record and the release that it is of.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Read what the engine takes
  phi4_edge.edge.phi4_bench:
    do: usage
    root: /opt/phi4-edge
    state: /var/lib/phi4-edge
    wish:
      compose: false
      project: phi4-edge
      unit: phi4-edge.service
      gpu: ""
      seconds: 2
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation, when it failed.
  returned: failure
  type: dict
ansible_facts:
  description: Sets C(phi4_bench).
  returned: success
  type: dict
"""
