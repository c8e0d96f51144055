# Copyright: The phi4-edge authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of options that several modules have."""

from __future__ import annotations


class ModuleDocFragment:
    """Named in a module as phi4_edge.edge.options.push, and so on."""

    PUSH = r"""
options:
  staging:
    description:
      - Directory on the host for what is not complete.
    type: path
    required: true
  piece_bytes:
    description:
      - Bytes sent in one request.
    type: int
    required: true
  reserve_bytes:
    description:
      - Bytes of the host's disk that must stay free.
    type: int
    required: true
  retries:
    description:
      - How often a lost connection is tried again.
    type: int
    required: true
  bandwidth:
    description:
      - Most bits per second that the host is sent, such as 20Mbit; none for no limit.
    type: str
  depot:
    description:
      - Socket on the controller at which the run says where the host may fetch from; empty where there is none.
    type: str
"""

    STAGE = r"""
options:
  root:
    description:
      - Directory of releases (stage).
    type: path
  release:
    description:
      - Name of the release (stage).
    type: str
  links:
    description:
      - Symlinks of the release by name (stage).
    type: dict
"""

    FOLDERS = r"""
options:
  root:
    description:
      - Directory of releases and engines.
    type: path
    required: true
  state:
    description:
      - Directory of models and receipt.
    type: path
    required: true
"""

    STORE = r"""
options:
  store:
    description:
      - Store of artifacts on the controller.
    type: path
    required: true
"""

    FACTS = r"""
options:
  facts:
    description:
      - Document of the probe.
    type: dict
    required: true
"""
