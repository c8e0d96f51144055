#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_doctor
short_description: Returns what may be in the way of provisioning a host, as raw text and times
version_added: 0.1.0
description:
  - Changes nothing; supports check mode. Sets the fact C(phi4_doctor).
  - Called by the role C(phi4_edge.edge.doctor); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
extends_documentation_fragment:
  - phi4_edge.edge.options.folders
options:
  rounds:
    description:
      - Trivial commands over the connection, of which the quickest counts.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Look for what would be in the way
  phi4_edge.edge.phi4_doctor:
    rounds: 5
    root: /opt/phi4-edge
    state: /var/lib/phi4-edge
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
ansible_facts:
  description: Sets C(phi4_doctor).
  returned: success
  type: dict
"""
