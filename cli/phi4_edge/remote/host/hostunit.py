"""Units of ours under systemd: what it says of them, starting and stopping them, and the end of a rehearsal.

Sent in front of the script that uses it; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import contextlib
import glob
import os
import time
from typing import Mapping

import hostdocker
from hostlib import HostError, fsync_directory, remove_tree
from hostrun import command

FOLDER = "/etc/systemd/system"
SOCKET, MAIN, WEBUI = "phi4-edge.socket", "phi4-edge.service", "phi4-edge-webui.service"
LOAD = "phi4-edge-load.service"
# In front of the engine, for clients with a key: it stays while the engine is started anew.
GATEWAY = "phi4-edge-gateway.service"
# Says at the gateway's /metrics how the host is.
METRICS = "phi4-edge-metrics.service"
# Keeps users of the host from the engine's port, which is for the gateway.
GUARD = "phi4-edge-guard.service"
# Tells the gateway which prompts are too long, where the engine would cut them in silence.
MEASURE = "phi4-edge-measure.service"
# What looks after the release by itself: the timer starts the other one, which runs for some seconds.
HEALING = ("phi4-edge-heal.service", "phi4-edge-heal.timer")
HEAL, HEAL_TIMER = HEALING
# In the order in which they start. A socket is the port of an engine that can be handed one; LOAD keeps a model loaded
# that its engine would load with the first request. Other releases have neither.
UNITS = (GUARD, SOCKET, MAIN, LOAD, WEBUI, GATEWAY, METRICS, MEASURE, *HEALING)
# In the order in which they stop: the timer and the socket would start others again, and no port is without its guard.
STOPPING = (HEAL_TIMER, HEAL, METRICS, GATEWAY, MEASURE, SOCKET, WEBUI, LOAD, MAIN, GUARD)
# Compose project of each; the rehearsal's is its own, so that it can be taken down beside the one that serves.
PROJECTS = ("phi4-edge", "phi4-edge-webui", "phi4-edge-rehearsal")
REHEARSAL = "phi4-edge-rehearsal.service"
# Runs while role ollama makes its store; one that an interrupted run left ends by itself, or here.
CREATE = "phi4-edge-create.service"
# Gone after a reboot: a rehearsal has nothing to do there.
REHEARSAL_UNIT = "/run/systemd/system/" + REHEARSAL
REHEARSAL_FOLDER = "/run/phi4-edge-rehearsal"
# What the gate let pass last, for the watch after it. Gone after a reboot too, like systemd's count of restarts.
PASSED = "/run/phi4-edge-gate.json"
# There from the first stop of a switch to its last start: what runs meanwhile may be of either release.
SWITCHING = "/run/phi4-edge-switch"
PROPERTIES = "LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,MainPID,InvocationID"


def shown(unit: str, properties: str = PROPERTIES) -> dict[str, str]:
    """What systemd says about the unit, by property name."""
    _status, output = command("systemctl", "show", unit, "-p", properties)
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def active(unit: str) -> bool:
    """Whether the unit runs, or listens."""
    return shown(unit).get("ActiveState") == "active"


def stays(unit: str, wanted: Mapping[str, bytes], changes: list[str]) -> bool:
    """Whether what listens for clients stays all the time: the release's unit is the one that is active now."""
    return unit in wanted and os.path.join(FOLDER, unit) not in changes and active(unit)


def must(*argv: str) -> None:
    """Raises HostError when systemctl fails; the message holds what it said."""
    status, output = command("systemctl", *argv)
    if status:
        raise HostError(f"systemctl {' '.join(argv)} failed with exit status {status}: {output[-800:]}")


def stop(unit: str, state: dict[str, str]) -> None:
    """What ran of the unit when it was in `state` does not run any more. Raises HostError when it does not end.

    A client may have its socket start it again at once: that is another invocation, and not this one's business.
    """
    if state.get("ActiveState") in ("inactive", "failed", None):
        return
    command("systemctl", "stop", unit, timeout=150.0)
    end = time.monotonic() + 10
    while True:
        now = shown(unit)
        if now.get("ActiveState") in ("inactive", "failed") or now.get("InvocationID") != state.get("InvocationID"):
            return
        if time.monotonic() > end:
            raise HostError(f"{unit} does not stop; look at: journalctl -u {unit}")
        time.sleep(0.2)


def wants(unit: str) -> list[str]:
    """Links that start the unit at boot, or with another unit."""
    return sorted(glob.glob(os.path.join(FOLDER, "*.wants", unit)))


def unwant(unit: str) -> None:
    """Nothing starts the unit any more, neither the next boot nor another unit that only wants it."""
    for link in wants(unit):
        _unlink(link)


def _unlink(link: str) -> None:
    """The link is gone, and so is its folder where it has nothing else in it, as with `systemctl disable`."""
    folder = os.path.dirname(link)
    os.unlink(link)
    fsync_directory(folder)
    with contextlib.suppress(OSError):  # it holds links of others
        os.rmdir(folder)


def enable(unit: str, text: str) -> bool:
    """The unit starts at boot and with what its text names, and with nothing else; true when that was a change.

    `daemon-reload`, which takes systemd a fifth of a second each time, is the caller's.
    """
    lines = [line.partition("=")[2].split() for line in text.splitlines() if line.startswith("WantedBy=")]
    folders = {f"{name}.wants" for words in lines for name in words}
    surplus = [link for link in wants(unit) if os.path.basename(os.path.dirname(link)) not in folders]
    for link in surplus:
        _unlink(link)
    if len(wants(unit)) == len(folders) and shown(unit).get("UnitFileState") == "enabled":
        return bool(surplus)
    must("enable", "--quiet", "--no-reload", unit)
    return True


def traces(unit: str) -> list[str]:
    """Every path that makes the unit known to systemd, whether it is there or not."""
    installed = os.path.join(FOLDER, unit)
    return [installed, installed + ".d", *glob.glob(installed + ".new-*"), *wants(unit)]


def drop(unit: str) -> list[str]:
    """The unit neither runs nor is known to systemd; the paths that are gone. `daemon-reload` is the caller's."""
    state = shown(unit)
    found = [path for path in traces(unit) if os.path.lexists(path)]
    if not found and state.get("LoadState") in ("not-found", None):
        return []
    stop(unit, state)
    if os.path.lexists(os.path.join(FOLDER, unit)):
        must("disable", "--quiet", "--no-reload", unit)
    for path in traces(unit):
        if remove_tree(path):
            fsync_directory(os.path.dirname(path))
    command("systemctl", "reset-failed", unit)  # fails for a unit that never failed
    return found


def end_rehearsal() -> bool:
    """No rehearsal runs, also none that a run which was killed left behind; true when there was something of one."""
    found = [path for path in (REHEARSAL_UNIT, REHEARSAL_FOLDER) if os.path.lexists(path)]
    if not found:
        return False
    stop(REHEARSAL, shown(REHEARSAL))
    if os.path.exists(os.path.join(REHEARSAL_FOLDER, "compose.yml")):
        hostdocker.down("phi4-edge-rehearsal")
    for path in found:
        remove_tree(path)
    must("daemon-reload")
    command("systemctl", "reset-failed", REHEARSAL)  # fails for a unit that never failed
    return True
