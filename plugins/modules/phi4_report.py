#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_report
short_description: Say in one line what was found on a host, or done to it
version_added: 0.1.0
description:
  - The words are those of the command. Reads the facts that the roles set; what a host said in them stays text.
  - Needs no connection to the host and changes nothing; check mode is the same.
  - Called by the playbooks and by the roles C(phi4_edge.edge.doctor), C(phi4_edge.edge.plan) and
    C(phi4_edge.edge.receipt); its options are no interface of their own and may change with any version.
author:
  - The phi4-edge authors (!UNKNOWN)
options:
  about:
    description:
      - What the line is about.
    type: str
    required: true
    choices:
      - detect
      - doctor
      - lock
      - plan
      - provision
      - remove
      - rollback
      - status
  changed:
    description:
      - Whether anything was done (remove).
    type: bool
  store:
    description:
      - Store of artifacts on the controller (doctor).
    type: path
  fail:
    description:
      - Fail a host on which provisioning would stop (doctor).
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Say what the host is
  phi4_edge.edge.phi4_report:
    about: detect
"""

RETURN = r"""
msg:
  description: The line.
  returned: always
  type: str
"""
