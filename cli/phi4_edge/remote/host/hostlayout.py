"""Where what is installed on this host lies: its units say so, wherever a controller would look for it.

Python 3.8, standard library. Also sent as a part of the probe.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Tuple

FOLDER = "/etc/systemd/system"
# Those of our units that name their release; the socket's stays from one to the next.
NAMING = ("phi4-edge.service", "phi4-edge-webui.service", "phi4-edge-load.service")
# What lies in each directory of ours, and nothing else that is there is ours.
IN_ROOT = ("current", "engines", "releases")
IN_STATE = (
    "bench.json", "docker.json", "fact.json", "gateway", "heal", "heal.json", "journal.json", "key-usage", "lock",
    "models", "receipt.json", "repacked", "staging", "stores", "trust", "webui",
)  # fmt: skip
UNIT_LIMIT = 64 * 1024
RELEASE = re.compile(r"""(?:^|[\s="'])((?:/[A-Za-z0-9._-]+){1,20})/releases/(r-[0-9a-f]{12})/""", re.MULTILINE)
LINKED = re.compile(r"((?:/[A-Za-z0-9._-]+){1,20})/(?:models|stores)/[^/]+")


def unit_text(path: str) -> str:
    """The begin of a unit; "" where there is no regular file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return ""
    with os.fdopen(handle, "rb") as stream:
        return stream.read(UNIT_LIMIT).decode("utf-8", "replace")


def installed(top: str = "") -> Tuple[str, str]:
    """Directories of the programs and of the state that a unit of ours names; "" for what nobody can say.

    `top`: a test's stand-in for "/".
    """
    for unit in NAMING:
        found = RELEASE.search(unit_text(os.path.join(top + FOLDER, unit)))
        if found:
            return found.group(1), state_of("%s%s/releases/%s" % (top, found.group(1), found.group(2)))
    return "", ""


def state_of(release: str) -> str:
    """The directory of the state that the links of a release lead to; "" where it has none."""
    for name in ("model", "store"):
        path = os.path.join(release, name)
        found = LINKED.fullmatch(os.readlink(path)) if os.path.islink(path) else None
        if found:
            return found.group(1)
    return ""


def elsewhere(root: str, state: str) -> str:
    """Why nothing of `root` and `state` may be done here, as something is installed elsewhere; "" where it is not.

    An empty one is not compared.
    """
    there = installed()
    both = (("phi4_root", there[0], root), ("phi4_state", there[1], state))
    wrong = [(name, found, wanted) for name, found, wanted in both if found and wanted and found != wanted]
    if not wrong:
        return ""
    found = " and ".join("%s=%s" % (name, one) for name, one, _ in wrong)
    wanted = " and ".join("%s=%s" % (name, one) for name, _, one in wrong)
    return (
        "found what serves here installed with %s, needed %s: set %s again, or remove it there first "
        "(phi4-edge remove with those values), then provision. Nothing was changed" % (found, wanted, found)
    )
