#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_exchange
short_description: Exchange one HTTP request and answer with the engine of a host
version_added: 0.1.0
description:
  - For hosts that only Ansible reaches. The request is sent only while the port belongs to whom the caller has
    judged. Changes nothing; supports check mode.
  - Called by the role C(phi4_edge.edge.health); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
options:
  wish:
    description:
      - The address and port, the request in Base64, its time and size limits, and who is expected to listen.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Ask the engine
  phi4_edge.edge.phi4_exchange:
    wish:
      address: 127.0.0.1
      port: 8080
      request: R0VUIC92MS9tb2RlbHMgSFRUUC8xLjENCg0K
      seconds: 30
      most_bytes: 262144
      expected:
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation, when it failed.
  returned: failure
  type: dict
ansible_facts:
  description: Sets C(phi4_exchange).
  returned: success
  type: dict
"""
