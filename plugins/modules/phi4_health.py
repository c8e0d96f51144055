#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_health
short_description: Prove on the host that a release serves
version_added: 0.1.0
description:
  - Unit active, health path, the planned release, the planned model, a real generation, where the plan wants
    it, and no restart in between. Under Compose also its container, its image and its own health check.
  - With O(watch_seconds) the same for a service that passed before; it must be the same process all the time.
  - A gate that passed sets the fact C(phi4_gate), without which no receipt is written.
  - A failure names the step and brings the last lines of the journal. Skipped in check mode.
  - Called by the role C(phi4_edge.edge.health); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
options:
  rehearsal:
    description:
      - Ask the rehearsal and not the service.
    type: bool
    default: false
  plan:
    description:
      - The plan whose release shall be serving.
    type: dict
    required: true
  generation_seconds:
    description:
      - Longest time for one short answer.
    type: int
    required: true
  start_seconds:
    description:
      - Longest time until the service is healthy, 0 for the engine's own (gate).
    type: int
  stability_seconds:
    description:
      - Time for which it must stay up afterwards (gate).
    type: float
  watch_seconds:
    description:
      - Watch for so long what passed the gate before.
    type: float
  root:
    description:
      - Directory of releases.
    type: path
    required: true
  state:
    description:
      - Directory of the receipt.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Prove that the release serves
  phi4_edge.edge.phi4_health:
    plan: "{{ ansible_facts['phi4_plan'] }}"
    root: /opt/phi4-edge
    state: /var/lib/phi4-edge
    start_seconds: 600
    generation_seconds: 120
    stability_seconds: 5
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
ansible_facts:
  description: Sets C(phi4_gate), or C(phi4_watch) with O(watch_seconds).
  returned: success
  type: dict
"""
