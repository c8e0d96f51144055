#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_probe
short_description: Returns the raw facts document of a host
version_added: 0.1.0
description:
  - One command per host, a standard-library script on standard input. Changes nothing; supports check mode.
  - Called by the role C(phi4_edge.edge.probe); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
extends_documentation_fragment:
  - phi4_edge.edge.options.folders
options:
  verify_seconds:
    description:
      - Longest time for verifying the files that the host's receipt names.
    type: int
    default: 120
  deep:
    description:
      - Whether every managed file is hashed, whatever its size, time and inode say.
    type: bool
    default: false
  sample:
    description:
      - Whether a host without a release is asked how fast it reads its memory, which takes less than 0.3 s.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Read what the host says about itself
  phi4_edge.edge.phi4_probe:
    verify_seconds: 120
    root: /opt/phi4-edge
    state: /var/lib/phi4-edge
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
ansible_facts:
  description: Sets C(phi4_facts).
  returned: success
  type: dict
"""
