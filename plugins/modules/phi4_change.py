#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_change
short_description: Stage, switch, prove and commit a release, in one exchange with the host
version_added: 0.1.0
description:
  - Stages, verifies, rehearses where the plan says so, switches, proves and commits, as the roles C(service), C(health)
    and C(receipt) do one by one. Has no check mode.
  - If the plan changes nothing but settings, the release takes over what the committed one is made of. If the host
    finds that it is made of something else, nothing is changed, and C(done) is false.
  - Called by the role C(phi4_edge.edge.service); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
extends_documentation_fragment:
  - phi4_edge.edge.options.folders
options:
  plan:
    description:
      - The plan.
    type: dict
    required: true
  images:
    description:
      - Ids of its images on the host by service; a change of settings alone finds them there.
    type: dict
    default: {}
  inherit:
    description:
      - False if what the release is made of is there, and its links are staged, also where settings alone change.
    type: bool
    default: true
  restart:
    description:
      - Restart even where nothing that the process reads changed.
    type: bool
    default: false
  forget:
    description:
      - The release that was committed until now is bad and not kept.
    type: bool
    default: false
  start_seconds:
    description:
      - Longest time until the service is healthy, 0 for the engine's own.
    type: int
    required: true
  generation_seconds:
    description:
      - Longest time for one short answer.
    type: int
    required: true
  stability_seconds:
    description:
      - Time for which it must stay up afterwards.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Stage, switch, prove and commit
  phi4_edge.edge.phi4_change:
    plan: "{{ ansible_facts['phi4_plan'] }}"
    root: /opt/phi4-edge
    state: /var/lib/phi4-edge
    start_seconds: 600
    generation_seconds: 120
    stability_seconds: 5
"""

RETURN = r"""
done:
  description: Whether the release of the plan is committed now.
  returned: success
  type: bool
answer:
  description: What was changed, and how the gate was passed.
  returned: when it is done
  type: dict
"""
