#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_gateway
short_description: Look for HAProxy, and bring the keys and the certificate that let clients in at a gateway
version_added: 0.1.0
description:
  - One command on the host. Check mode says what would change.
  - Keys go to the host as SHA-256. The private key of a certificate is no option; it is sent in the connection alone,
    and no log and no result has it.
  - Called by the role C(phi4_edge.edge.gateway); its options are no interface of their own and may change with
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
      - quiet
      - bring
  state:
    description:
      - Directory of the state on the host (bring).
    type: path
  plan:
    description:
      - The host's plan (bring).
    type: dict
  facts:
    description:
      - What the host said about itself (bring).
    type: dict
"""

EXAMPLES = r"""
- name: Bring keys and certificate
  phi4_edge.edge.phi4_gateway:
    do: bring
    state: /var/lib/phi4-edge
    plan: "{{ ansible_facts['phi4_plan'] }}"
    facts: "{{ ansible_facts['phi4_facts'] }}"
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
"""
