"""What Debian's package manager left half done: it then refuses to install anything.

Python 3.8, standard library. Reads dpkg's own files: to ask it (`dpkg --audit`) takes a slow board a second.
"""

from __future__ import annotations

import os
import re

from hosttools import Gap
from rooted import Root

FOLDER = "/var/lib/dpkg"
STATUS_LIMIT = 32 << 20  # 1 KiB for each of some 3,000 packages, with room
# Of the three words of a package's status, the second is ok and the third none of these where all is well.
UNFINISHED = re.compile(
    r"^Package: (\S{1,100})\n"
    r"Status: \S+ (?:reinstreq \S+|ok (?:half-installed|half-configured|unpacked|triggers-\w+))$",
    re.MULTILINE,
)
MOST = 20


def state(root: Root) -> str:
    """ "interrupted", "unfinished NAME NAME", or "whole"."""
    if not os.path.isdir(root.top + FOLDER):
        raise Gap("missing", FOLDER)
    # Numbered files are there exactly while a run of dpkg is not finished.
    updates = root.top + FOLDER + "/updates"
    if os.path.isdir(updates) and any(name.isdigit() for name in os.listdir(updates)):
        return "interrupted"
    names = UNFINISHED.findall(root.read(FOLDER + "/status", STATUS_LIMIT))
    return " ".join(["unfinished", *names[:MOST]]) if names else "whole"
