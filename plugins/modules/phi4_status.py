#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_status
short_description: Say what a host serves, and which managed files are not as they were committed
version_added: 0.1.0
description:
  - Needs no connection to the host and changes nothing; check mode is the same.
  - Called by the role C(phi4_edge.edge.receipt); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
extends_documentation_fragment:
  - phi4_edge.edge.options.facts
"""

EXAMPLES = r"""
- name: Compare the host with what it was committed as
  phi4_edge.edge.phi4_status:
    facts: "{{ ansible_facts['phi4_facts'] }}"
"""

RETURN = r"""
msg:
  description: What the host serves.
  returned: success
  type: str
"""
