#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_plan
short_description: Decide what a host shall run, and set the fact phi4_plan
version_added: 0.1.0
description:
  - Fails the host when nothing fits it, when its plan cannot be applied, or when it is not the expected plan.
  - Needs no connection to the host and changes nothing; check mode is the same.
  - Called by the role C(phi4_edge.edge.plan); its options are no interface of their own and may change with any
    version.
author:
  - The phi4-edge authors (!UNKNOWN)
extends_documentation_fragment:
  - phi4_edge.edge.options.facts
  - phi4_edge.edge.options.store
options:
  expected:
    description:
      - Fingerprint that was agreed to; empty for any.
    type: str
"""

EXAMPLES = r"""
- name: Decide what this host shall run
  phi4_edge.edge.phi4_plan:
    facts: "{{ ansible_facts['phi4_facts'] }}"
    store: /srv/phi4-edge/store
"""

RETURN = r"""
ansible_facts:
  description: Sets C(phi4_plan).
  returned: success
  type: dict
"""
