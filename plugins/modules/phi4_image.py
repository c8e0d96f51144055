#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_image
short_description: Have container images in the host's Docker, and set the fact phi4_images
version_added: 0.1.0
description:
  - Asks Docker what it holds. What is missing is pushed like any artifact and loaded, or pulled by the host by
    digest.
  - Counts an image as there only when its id and its layers are the right ones.
  - Called by the role C(phi4_edge.edge.artifact); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
extends_documentation_fragment:
  - phi4_edge.edge.options.push
  - phi4_edge.edge.options.store
options:
  images:
    description:
      - The plan's image by what it is for (engine, webui).
    type: dict
    required: true
  delivery:
    description:
      - How images reach the host.
    type: str
    required: true
    choices:
      - push
      - registry
  mirror:
    description:
      - Registry that stands in for all others, host[:port][/prefix].
    type: str
"""

EXAMPLES = r"""
- name: Have the images of the plan in Docker
  phi4_edge.edge.phi4_image:
    images: {engine: "{{ ansible_facts['phi4_plan']['image'] }}"}
    store: /srv/phi4-edge/store
    delivery: push
    staging: /var/lib/phi4-edge/staging
    piece_bytes: 16777216
    reserve_bytes: 67108864
    retries: 3
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
ansible_facts:
  description: Sets C(phi4_images).
  returned: success
  type: dict
"""
