#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_receipt
short_description: Commit a release, or remove what no committed release needs
version_added: 0.1.0
description:
  - Hashes every managed file on the host and writes the receipt atomically. Check mode only compares.
  - Called by the role C(phi4_edge.edge.receipt); its options are no interface of their own and may change with
    any version.
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
      - commit
      - sweep
  plan:
    description:
      - The plan that was applied (commit).
    type: dict
  images:
    description:
      - Ids of its images on the host by service (commit).
    type: dict
  gate:
    description:
      - 'The fact phi4_gate: the proof of this run''s gate (commit).'
    type: dict
  forget:
    description:
      - The release that was committed until now is bad and not kept (commit).
    type: bool
"""

EXAMPLES = r"""
- name: Remove what no committed release needs
  phi4_edge.edge.phi4_receipt:
    do: sweep
    root: /opt/phi4-edge
    state: /var/lib/phi4-edge
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
"""
