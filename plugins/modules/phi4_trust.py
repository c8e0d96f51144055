#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_trust
short_description: Have a host trust keys, or present to it what they signed
version_added: 0.1.0
description:
  - One command on the host, which verifies signature, keys, time and order itself.
  - A host that trusts no key answers that nothing was to be done.
  - Called by the role C(phi4_edge.edge.trust); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
extends_documentation_fragment:
  - phi4_edge.edge.options.store
options:
  do:
    description:
      - What to do.
    type: str
    required: true
    choices:
      - trust
      - present
  state:
    description:
      - Directory of models and receipt.
    type: path
    required: true
  keys:
    description:
      - Public keys in one line by name (trust).
    type: dict
  rotations:
    description:
      - Rotations of keys as one document in base64 (trust).
    type: str
  plan:
    description:
      - What is going to be brought to the host (present).
    type: dict
"""

EXAMPLES = r"""
- name: Have the host trust a key
  phi4_edge.edge.phi4_trust:
    do: trust
    state: /var/lib/phi4-edge
    store: /srv/phi4-edge/store
    keys: {site: RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3}
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
"""
