#!/usr/bin/python
# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: phi4_webui
short_description: Prepare the chat page's data directory, stage its part of a release, or make its administrator
version_added: 0.1.0
description:
  - One command on the host. Check mode says what would change; stage supports diff.
  - The administrator's email and password are no options, but C(webui_admin_email) and C(webui_admin_password)
    of the host's variables, so that no log and no result has them. They reach the page over sockets alone.
  - Called by the role C(phi4_edge.edge.webui); its options are no interface of their own and may change with
    any version.
author:
  - The phi4-edge authors (!UNKNOWN)
options:
  do:
    description:
      - What to do.
    type: str
    required: true
    choices:
      - prepare
      - stage
      - administrator
  data:
    description:
      - Directory of accounts and chats on the host.
    type: path
    required: true
  root:
    description:
      - Directory of releases (stage).
    type: path
  release:
    description:
      - Name of the release (stage).
    type: str
  plan:
    description:
      - The host's plan (stage).
    type: dict
  image:
    description:
      - Id of the page's image on the host; empty only in check mode (stage).
    type: str
  seconds:
    description:
      - Longest time until the page asks for its administrator (administrator).
    type: int
"""

EXAMPLES = r"""
- name: Make the directory of accounts and chats
  phi4_edge.edge.phi4_webui:
    do: prepare
    data: /var/lib/phi4-edge/webui
"""

RETURN = r"""
answer:
  description: What the host answered, held to the schema of the operation.
  returned: when the host answered
  type: dict
"""
