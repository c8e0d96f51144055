"""Looks after the committed release of this gateway by itself: phi4-edge-heal.service runs it, without a controller.

Python 3.8, standard library, and the modules of ours beside it. It verifies what `phi4-edge status` verifies, puts back
small files, links, modes and owners, and starts what does not run. What it did lies in <state>/heal.json.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from typing import Dict, List, Optional, Tuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # isolated Python looks nowhere else than in its own

from hostguard import is_open, place
from hostlib import (
    HostError,
    Json,
    lines_of,
    link_atomic,
    own_directory,
    read_bytes,
    read_json,
    remove_tree,
    write_atomic,
    write_json,
)  # fmt: skip
from hostlockstate import LOCK_BEAT, lock_status
from hostprivate import lock_file
from hostreceipt import verify

FORMAT = "phi4-edge/heal/1"
UNITS = (
    "phi4-edge-guard.service", "phi4-edge.socket", "phi4-edge.service", "phi4-edge-load.service",
    "phi4-edge-webui.service", "phi4-edge-gateway.service", "phi4-edge-metrics.service", "phi4-edge-measure.service",
    "phi4-edge-heal.service", "phi4-edge-heal.timer",
)  # fmt: skip
MAIN, GATEWAY, GUARD = "phi4-edge.service", "phi4-edge-gateway.service", "phi4-edge-guard.service"
FOLDER = "/etc/systemd/system"
# An administrator's: while it is there, nothing is put right.
HOLD = "/etc/phi4-edge/hold"
# Every script of a run holds the first while it works; the second is there in the middle of a switch.
LOCK, SWITCHING = "/run/phi4-edge.lock", "/run/phi4-edge-switch"
VERIFY_SECONDS = 600.0
# Larger ones are models and engines, which nobody has twice.
SMALL = 1 << 20
# What does not help three times in an hour is for somebody to look at.
ATTEMPTS, ATTEMPT_SECONDS = 3, 3600.0
MOST = 20
# What no process reads.
UNREAD = ("plan.json", "phi4_edge.fact")


class Host:
    """The committed release on this host: its lines by path, and where everything is."""

    def __init__(self, root: str, state: str, receipt: Json) -> None:
        self.state = state
        self.release = os.path.join(root, "releases", str(receipt.get("release")))
        self.lines: Dict[str, Json] = lines_of(receipt)
        self.links = {str(link["path"]): str(link["target"]) for link in receipt.get("links") or ()}
        self.did: List[str] = []
        self.left: List[str] = []
        self.reread = False

    def small(self) -> Dict[str, Json]:
        """The lines of what is kept twice: units, settings and programs of the release, the local fact."""
        places = (self.release + "/", FOLDER + "/", "/etc/ansible/facts.d/")
        return {path: line for path, line in self.lines.items() if path.startswith(places) and line["size"] <= SMALL}

    def copies(self) -> str:
        return os.path.join(self.state, "heal")

    def copy(self, wanted: str) -> Optional[bytes]:
        """The content with this digest: of our copies, or of another file of the release that has it."""
        same = [path for path, line in self.small().items() if line["sha256"] == wanted]
        for path in (os.path.join(self.copies(), wanted), *same):
            found = read_bytes(path, SMALL + 1)
            if found is not None and hashlib.sha256(found).hexdigest() == wanted:
                return found
        return None


def keep(host: Host) -> None:
    """There is a copy of every small file of the release, and of nothing else."""
    wanted = {str(line["sha256"]): path for path, line in host.small().items()}
    own_directory(host.copies(), 0o700)
    for name in os.listdir(host.copies()):
        if name not in wanted:
            remove_tree(os.path.join(host.copies(), name))
    for name, path in wanted.items():
        there = os.path.join(host.copies(), name)
        if not os.path.lexists(there):
            found = read_bytes(path, SMALL + 1)
            if found is not None and hashlib.sha256(found).hexdigest() == name:
                write_atomic(there, found, 0o600)


def mend(host: Host, path: str, problem: str) -> None:
    """The file or link is as committed again, or named among what is left."""
    line, target = host.lines.get(path), host.links.get(path)
    if target is not None and problem in ("link", "missing"):
        link_atomic(target, path)
        host.reread = host.reread or not path.endswith("/current")
    elif line is not None and problem in ("missing", "changed"):
        found = host.copy(str(line["sha256"]))
        if found is None:
            host.left.append("%s is %s" % (path, problem))
            return
        own_directory(os.path.dirname(path), 0o755)
        write_atomic(path, found, mode_of(line))
        host.reread = host.reread or os.path.basename(path) not in UNREAD
    elif line is not None and problem in ("mode", "owner"):
        user, _, group = str(line.get("owner", "0:0")).partition(":")
        os.chown(path, int(user), int(group), follow_symlinks=False)
        os.chmod(path, mode_of(line))
    else:  # a drop-in, a package, a group, Docker's settings: an administrator's word, or a controller's work
        host.left.append("%s is %s" % (path, problem))
        return
    host.did.append("put back %s (it was %s)" % (path, {"mode": "of another mode", "owner": "of another owner",
                                                        "link": "another link"}.get(problem, problem)))  # fmt: skip


def mode_of(line: Json) -> int:
    value = line["mode"]
    return value if isinstance(value, int) else int(value, 8)


def systemctl(*words: str) -> Tuple[int, str]:
    """Exit status and output of systemctl."""
    environment = dict(os.environ, LC_ALL="C.UTF-8", SYSTEMD_COLORS="0", SYSTEMD_PAGER="")
    done = subprocess.run(
        ("systemctl", *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=150.0, check=False, env=environment,
    )  # fmt: skip
    return done.returncode, done.stdout.decode("utf-8", "replace")[-4000:]


def states(units: List[str]) -> Dict[str, Dict[str, str]]:
    """What systemd says of each unit, by name."""
    _status, output = systemctl("show", *units, "-p", "Id,ActiveState,UnitFileState,NeedDaemonReload")
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in output.split("\n\n")]
    return {block["Id"]: block for block in blocks if "Id" in block}


def serve(host: Host, containers: List[Json], wanted_image: str) -> None:
    """The units of the release are enabled and run; where somebody stopped and disabled one, all are left alone."""
    units = [unit for unit in UNITS if os.path.join(FOLDER, unit) in host.lines and unit != "phi4-edge-heal.service"]
    found = states(units)
    lasting = [unit for unit in units if not unit.startswith("phi4-edge-heal")]
    off = [unit for unit in lasting if stopped(found.get(unit, {})) and not enabled(found.get(unit, {}))]
    if off:
        host.left.append("%s is stopped and not enabled: somebody took it out of service" % ", ".join(off))
        return
    if host.did or any(state.get("NeedDaemonReload") == "yes" for state in found.values()):
        systemctl("daemon-reload")
    for unit in units:
        if not enabled(found.get(unit, {})):
            act(host, "enabled %s" % unit, "enable", "--quiet", unit)
    other = [item for item in containers if item.get("service") == "engine" and item.get("state") == "running"
             and wanted_image and item.get("image") != wanted_image]  # fmt: skip
    for unit in lasting:
        state = found.get(unit, {}).get("ActiveState", "unknown")
        if unit == GUARD and state == "failed":
            host.left.append("%s has failed, so every user of this host reaches the engine" % unit)
        elif state in ("inactive", "failed"):
            systemctl("reset-failed", unit)
            act(host, "started %s (it was %s)" % (unit, state), "start", "--no-block", unit)
        elif unit == GUARD and (host.reread or unguarded(host)):
            why = "its files were put back" if host.reread else "others had removed them"
            act(host, "loaded the rules of %s (%s)" % (unit, why), "reload", "--no-block", unit)
        elif unit == GATEWAY and host.reread:
            act(host, "reloaded %s (its files were put back)" % unit, "reload-or-restart", "--no-block", unit)
        elif unit == MAIN and (host.reread or other):
            why = "its files were put back" if host.reread else "another image ran in its container"
            act(host, "restarted %s (%s)" % (unit, why), "restart", "--no-block", unit)


def unguarded(host: Host) -> bool:
    """Whether a user of this host reaches the engine that is for its gateway, where it runs."""
    try:
        plan = read_json(os.path.join(host.release, "plan.json"))
        where = place(plan) if isinstance(plan, dict) else None
    except (LookupError, TypeError, ValueError):
        return False
    return where is not None and is_open(where)


def stopped(state: Dict[str, str]) -> bool:
    return state.get("ActiveState") in ("inactive", "failed")


def enabled(state: Dict[str, str]) -> bool:
    return state.get("UnitFileState") == "enabled"


def act(host: Host, what: str, *words: str) -> None:
    status, output = systemctl(*words)
    if status:
        host.left.append("systemctl %s fails: %s" % (" ".join(words), " ".join(output.split())[-200:]))
    else:
        host.did.append(what)


def taken(state: str) -> bool:
    """Whether a run of a controller has this host, or was cut where it matters: the next run goes on from there."""
    journal = read_json(os.path.join(state, "journal.json"))
    entry = journal if isinstance(journal, dict) else {}
    step, phase = entry.get("step"), entry.get("phase")
    half_done = step in ("switch", "probe", "commit", "rollback") and not entry.get("closed")
    half_done = half_done and (step, phase) not in (("commit", "after"), ("rollback", "after"))
    held = lock_status(state, LOCK_BEAT).get("state") in ("held", "ending")
    return held or half_done or os.path.lexists(SWITCHING)


def look(root: str, state: str, attempts: int) -> Tuple[List[str], List[str]]:
    """(what was put right, what is left). Changes nothing after `ATTEMPTS` in an hour."""
    answer = verify((root, state), "", VERIFY_SECONDS)
    if not answer["present"]:
        return [], ["the receipt is gone"]
    if answer.get("error"):
        return [], [str(answer["error"])]
    document = read_json(os.path.join(state, "receipt.json"))
    host = Host(root, state, document if isinstance(document, dict) else {})
    if attempts >= ATTEMPTS:
        broken = ["%(path)s is %(problem)s" % item for item in answer["drift"]]
        return [], ["put right %d times within an hour, so nothing more for now" % attempts, *broken]
    for item in answer["drift"]:
        try:
            mend(host, item["path"], item["problem"])
        except (HostError, OSError, ValueError) as error:
            host.left.append("%s cannot be put back: %s" % (item["path"], error))
    image = answer["receipt"].get("image")
    serve(host, answer.get("containers") or [], str(image.get("id") or "") if isinstance(image, dict) else "")
    if not answer["drift"]:
        keep(host)
    return host.did, host.left


def note(state: str, before: Json, did: List[str], left: List[str], held: str) -> None:
    """What was found is noted where it differs, so that nothing is written while nothing happens."""
    now = time.time()
    attempts = [*recent(before, now), *([now] if did else [])]
    told = {"format": FORMAT, "left": left[:MOST], "held": held, "at": before.get("at", ""), "attempts": attempts,
            "did": before.get("did", [])}  # fmt: skip
    if did:
        told.update(at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)), did=did[:MOST])
    nothing = {"format": FORMAT, "left": [], "held": "", "at": "", "did": []}
    if did or {**told, "attempts": 0} != {**nothing, **before, "attempts": 0}:
        write_json(os.path.join(state, "heal.json"), told)


def recent(before: Json, now: float) -> List[float]:
    """When it put something right in the last hour."""
    times = before.get("attempts")
    found = [each for each in times if isinstance(each, (int, float))] if isinstance(times, list) else []
    return [each for each in found if 0 <= now - each < ATTEMPT_SECONDS][-MOST:]


def main(root: str, state: str) -> int:
    """One look, unless a run of a controller has this host. Always 0: what is left is noted, and no failed unit."""
    noted = read_json(os.path.join(state, "heal.json"))
    before: Json = noted if isinstance(noted, dict) and noted.get("format") == FORMAT else {}
    if os.path.lexists(HOLD):
        note(state, before, [], [], HOLD)
        return 0
    handle = lock_file(LOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if taken(state):
            return 0
        did, left = look(root, state, len(recent(before, time.time())))
        lines = ["healed: %s\n" % text for text in did]
        if left != before.get("left"):
            lines += ["left: %s; phi4-edge provision puts it right\n" % text for text in left]
        sys.stdout.write("".join(lines))
        note(state, before, did, left, "")
    except BlockingIOError:
        return 0  # a script of a controller is at work
    finally:
        os.close(handle)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
