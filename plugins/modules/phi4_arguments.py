#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_arguments
short_description: Check what an inventory sets for several roles
version_added: 0.1.0
description:
  - Holds the variables to the specifications of these roles' main entry points, as Ansible does before each role, but
    in one task for all of them, and before anything is changed.
  - A variable that is made of what is not known yet is left to the role that uses it.
  - Needs no connection to the host and changes nothing; check mode is the same.
  - Called by the role C(phi4_edge.edge.plan) and the playbook C(phi4_edge.edge.provision); its options are no interface
    of their own and may change with any version.
author:
  - The phi4-edge authors (!UNKNOWN)
options:
  plan:
    description:
      - The fact C(phi4_plan), whose roles are meant; empty where it is not set, which fails.
    type: dict
  roles:
    description:
      - The roles that are meant, in place of those of a plan.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Check what is set for the roles of the plan
  phi4_edge.edge.phi4_arguments:
    plan: "{{ ansible_facts['phi4_plan'] | default({}) }}"
"""

RETURN = r"""
msg:
  description: That all is well, or what is wrong with which role's variables.
  returned: always
  type: str
settings_alone:
  description:
    - Whether the plan changes nothing but settings, so that nothing is to be delivered; false in check mode and without
      a plan.
  returned: success
  type: bool
"""
