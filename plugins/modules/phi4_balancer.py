#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_balancer
short_description: Make a host a balancer in front of gateways, drain one of them, or take the balancer away
version_added: 0.1.0
description:
  - One command on the host, two to serve. Check mode says what would change.
  - The balancer's own key and the private key of its certificate are no options; they are sent in the connection alone,
    and no log and no result has them.
  - Called by the role C(phi4_edge.edge.balancer); its options are no interface of their own and may change with
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
      - serve
      - drain
      - ready
      - remove
  state:
    description:
      - Directory of the state on the host.
    type: path
  gateways:
    description:
      - The gateways behind it, as C(phi4-edge balance) found them (serve).
    type: list
    elements: dict
  answer_seconds:
    description:
      - Seconds that a gateway may say nothing (serve).
    type: int
  gateway:
    description:
      - Name of the gateway (drain, ready).
    type: str
  seconds:
    description:
      - Seconds to wait for answers that run (drain).
    type: int
"""

EXAMPLES = r"""
- name: Give a gateway no more requests
  phi4_edge.edge.phi4_balancer:
    do: drain
    state: /var/lib/phi4-edge
    gateway: gw1
    seconds: 120
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
"""
