#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_lock
short_description: Take or release the lock of a host, or say who has it
version_added: 0.1.0
description:
  - One command on the host. Never a change in Ansible's sense; check mode asks nothing and takes nothing.
  - Called by the role C(phi4_edge.edge.lock); its options are no interface of their own and may change with any
    version.
author:
  - The phi4-edge authors (!UNKNOWN)
extends_documentation_fragment:
  - phi4_edge.edge.options.folders
options:
  do:
    description:
      - What to do.
    type: str
    required: true
    choices:
      - take
      - release
      - show
      - clear
  id:
    description:
      - Of this run; empty makes one of the process that runs the play.
    type: str
  operation:
    description:
      - What the run does (take).
    type: str
  holder:
    description:
      - user, host, pid and version of the run, where it is not this play's (take).
    type: dict
  wait:
    description:
      - Seconds to wait for a run that lives (take).
    type: float
  stale_seconds:
    description:
      - Seconds after the last sign of life (take).
    type: float
  heartbeat_seconds:
    description:
      - Seconds between signs of life (take).
    type: float
  force:
    description:
      - Interrupt a run that lives (clear).
    type: bool
  first:
    description:
      - The fact C(phi4_lock) of the first host of the play (take). Where another run holds that one, it gets a head
        start of 5 seconds on this host, so that it gets all of them.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Say who holds the host
  phi4_edge.edge.phi4_lock:
    do: show
    root: /opt/phi4-edge
    state: /var/lib/phi4-edge
"""

RETURN = r"""
ansible_facts:
  description: Sets C(phi4_lock).
  returned: success
  type: dict
phi4_lock:
  description: Who has the host.
  returned: for take, show and clear
  type: dict
"""
