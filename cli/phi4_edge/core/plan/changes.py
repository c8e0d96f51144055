"""What would change on a host: the planned release against the receipt of the one that is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.core.facts.journal import Recovery, recovery
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.receipt import DAEMON_JSON, Drift, status
from phi4_edge.core.facts.units import STANDING, UNGUARDED
from phi4_edge.core.layout import HEAL_UNIT, LOAD_UNIT, LOCAL_FACT, SOCKET_UNIT, UNIT
from phi4_edge.core.plan.model import Install

Change = dict[str, Any]
# What is brought to a gateway beside the release: (what, what the host has, what it gets).
Bringing = tuple[str, str, str]
# Role service takes a repair for which only this is to be done for no reason to restart.
JOURNAL = "half-done run"
# What a process of ours does not read: to put it right is no reason to start one anew. Modes and owners are none.
_UNREAD = (DAEMON_JSON, LOCAL_FACT)
_AFTER = {"added": "removed", "stopped": STANDING, UNGUARDED: STANDING}
_READ_AGAIN = ("changed", "missing", "link", "added")
# What some releases have and others have not; receipts tell it since they name the service manager.
_NOT_ALWAYS = ("engine files", "image", "web page")


# What a release says otherwise although it is made of the same: nothing is delivered or installed for it.
_SETTINGS = frozenset({"bind", "port", "context length", "parallel", "threads", "release"})


def settings_alone(plan: Mapping[str, Any]) -> bool:
    """Return whether a plan, as plain data, changes nothing but settings of an engine that is as committed.

    What has no name among the changes, such as the number of requests that wait, is a setting too, or is made into
    what the release links to: the host compares that.
    """
    if plan.get("action") != "change" or plan.get("webui") or plan.get("gateway"):
        return False
    if plan["knobs"].get("repacked"):  # nobody knows before whether the host has them
        return False
    apart = {change["what"] for change in plan["changes"]} - _SETTINGS
    return not apart and plan["recovery"] == str(Recovery.NONE)


def recover(facts: HostFacts, release: str) -> Recovery:
    """Return what a run that shall bring `release` does first about what the last one left half done."""
    return recovery(facts.journal, facts.receipt.release, release)


def action(
    facts: HostFacts, fingerprint: str | None, install: Install, first: Recovery, brought: tuple[Bringing, ...] = ()
) -> str:
    """Return none, install (no receipt), change (another release), or repair (this release, but not as committed).

    A driver that is to be installed is a repair too: it makes no other release, but something is to be done. So are
    keys or a certificate that are to be `brought` to its gateway, and a switch that was cut, `first`, even where all is
    as committed: it must not stay half done for ever. A release that has no `fingerprint` yet is another one than the
    host has, for nobody knows better.
    """
    if not facts.receipt.present:
        return "install"
    state = status(facts.receipt, facts.service)
    if facts.receipt.fingerprint != fingerprint and state != "unreadable":
        return "change"
    done = state == "serving" and not install.nvidia_driver and first is Recovery.NONE and not brought
    return "none" if done else "repair"


def changes(
    facts: HostFacts,
    planned: Mapping[str, Any],
    first: Recovery,
    kind: str,
    install: Install,
    brought: tuple[Bringing, ...] = (),
) -> tuple[Change, ...]:
    """Return what differs, in the order of interest; drifted files one by one. () when nothing is to be done.

    What is not known of a plan yet, such as the name of its release, comes as None.
    """
    if kind == "none":
        return ()
    receipt, found = facts.receipt, _committed(facts)
    listed = [
        {"what": what, "before": before or None, "after": planned.get(what)}
        for what, before in found.items()
        # A receipt of an older version holds less: what it does not tell is no change.
        if (before or kind == "install" or (what in _NOT_ALWAYS and receipt.service_manager))
        and (before or None) != planned.get(what)
    ]
    listed += _gateway(facts, planned.get("gateway"))
    listed += _half_done(facts, first)
    listed += _put_right(facts, kind)
    if install.nvidia_driver:
        listed.append({"what": "NVIDIA driver", "before": None, "after": "installed"})
    listed += [{"what": what, "before": before, "after": after} for what, before, after in brought]
    return tuple(listed)


def _committed(facts: HostFacts) -> dict[str, Any]:
    """Return what the receipt tells, under the names of `changes`, in the order of interest."""
    receipt = facts.receipt
    return {
        "engine": receipt.engine,
        "quantization": receipt.quantization,
        "model": receipt.artifact,
        "model digest": receipt.digest,
        "bind": receipt.bind,
        "port": receipt.port,
        "context length": receipt.context_length,
        "parallel": receipt.parallel,
        "threads": receipt.threads,
        "engine files": receipt.runtime,
        "model store": receipt.store,
        "service manager": receipt.service_manager,
        "image": receipt.image.key,
        "image digest": receipt.image.digest,
        "web page": receipt.webui_image.key,
        "release": receipt.release,
    }


def _gateway(facts: HostFacts, wanted: str | None) -> list[Change]:
    """Return that the host gets a gateway, or has one no more; what it is like is a setting of the release."""
    has = facts.service is not None and facts.service.gateway != ""
    if has == bool(wanted):
        return []
    return [{"what": "gateway", "before": "there" if has else None, "after": wanted}]


def _half_done(facts: HostFacts, first: Recovery) -> list[Change]:
    """Return how the host comes out of a run that was cut."""
    journal = facts.journal
    if first is Recovery.NONE:
        return []
    of = f" of {journal.release}" if journal.release else ""
    before = f"{journal.operation or 'a run'} got as far as {journal.step}{of} ({journal.at or 'at an unknown time'})"
    undone = f"back to {facts.receipt.release} first"
    return [{"what": JOURNAL, "before": before, "after": undone if first is Recovery.UNDO else "finished"}]


def _put_right(facts: HostFacts, kind: str) -> list[Change]:
    """Return what is not as committed: the receipt itself, containers, files, the service."""
    receipt, service = facts.receipt, facts.service
    found = [("receipt", receipt.error, "as committed")] if receipt.error else []
    found += [(f"{name} container", "not running", "running") for name in receipt.missing_containers]
    found += [(f"{name} container", "of another image", "as committed") for name in receipt.foreign_containers]
    found += [(item.path, item.problem, _AFTER.get(item.problem, "as committed")) for item in receipt.drift]
    if service is not None and service.outdated and kind == "repair":
        found.append((UNIT, "read by systemd before it was changed", "read again"))
    if kind == "repair" and (service is None or not service.up):
        before = f"{service.active}, {service.enabled or 'not installed'}" if service else "unknown"
        if service is None or service.active != "active" or service.enabled != "enabled":
            found.append((UNIT, before, "active, enabled"))
        if service is not None and not service.holds_port:
            found.append((SOCKET_UNIT, service.socket, STANDING))
        if service is not None and not service.keeps_loaded:
            found.append((LOAD_UNIT, service.loader, STANDING))
    return [{"what": what, "before": before, "after": after} for what, before, after in found]


def restarts(facts: HostFacts) -> bool:
    """Return whether a process of the release may have read, or run with, what a repair of the host puts right."""
    receipt, service = facts.receipt, facts.service
    unknown = receipt.error != "" and not receipt.edited
    containers = receipt.foreign_containers or receipt.missing_containers
    outdated = service is not None and service.outdated
    return bool(unknown or containers or outdated or any(_was_read(facts, item) for item in receipt.drift))


def _was_read(facts: HostFacts, item: Drift) -> bool:
    """Return whether it is something that processes of the release read, and its content may have been another."""
    top, name = facts.layout.root, item.path.rpartition("/")[2]
    unread = item.path in (*_UNREAD, f"{top}/current") or name == "plan.json" or name.startswith(HEAL_UNIT[:-8])
    return item.path.startswith("/") and item.problem in _READ_AGAIN and not unread
