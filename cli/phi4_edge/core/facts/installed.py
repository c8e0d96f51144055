"""Where on a host lies what is installed there, as its unit says, and what it needs there and has no longer."""

from __future__ import annotations

from collections.abc import Iterator

from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.receipt import Drift
from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.facts.units import STANDING, UNGUARDED
from phi4_edge.core.inventory import EVERYWHERE
from phi4_edge.core.layout import GATEWAY_UNIT, GUARD_UNIT, HEAL_TIMER, Layout
from phi4_edge.core.values import directory

UNKNOWN = "-"
# States of the NVIDIA hardware in which the driver has said which GPUs there are.
_COUNTED = ("usable", "none", "no_driver", "no_devices", "unusable")
REMOVE = "remove it there first (phi4-edge remove with those values), then provision"


def parse(sources: Sources) -> Layout | None:
    """Return the directories that the units on the host name, None where there is none of ours.

    A state that cannot be seen, because a release is half there, is taken for the one that was looked at.
    """
    text = sources.text_or_none("installed") or ""
    root, _, state = text.strip().partition(" ")
    if not root:
        return None
    try:
        return Layout(directory(root), sources.layout.state if state in ("", UNKNOWN) else directory(state))
    except ValueError:
        sources.gap("installed", "nonsense", "no directories of ours")
        return None


def elsewhere(facts: HostFacts) -> Layout | None:
    """Return where the host has an installation of ours that was not looked at, None where it has none."""
    return facts.installed if facts.installed not in (None, facts.layout) else None


def misplaced(facts: HostFacts) -> tuple[str, str]:
    """Return what is wrong where an installation lies elsewhere, and what to do about it; ("", "") where none does."""
    there = elsewhere(facts)
    if there is None:
        return "", ""
    differ = [name for name, path in facts.layout.variables.items() if there.variables[name] != path]
    found = " and ".join(f"{name}={there.variables[name]}" for name in differ)
    wanted = " and ".join(f"{name}={facts.layout.variables[name]}" for name in differ)
    return f"found what serves installed with {found}, needed {wanted}", f"set {found} again, or {REMOVE}"


def lost(facts: HostFacts) -> tuple[Drift, ...]:
    """Return what the committed release needs of its host, and what of that is not there any more."""
    return tuple(_lost(facts)) if facts.receipt.present else ()


def _lost(facts: HostFacts) -> Iterator[Drift]:
    receipt, gone = facts.receipt, {gap.source for gap in facts.gaps if gap.kind == "missing"}
    if receipt.service_manager == "compose" or receipt.webui_image.key:
        if not facts.docker and ("docker" in gone or facts.system.docker_unit == "missing"):
            yield Drift("Docker Engine", "missing")
        elif not facts.compose and "compose" in gone:
            yield Drift("Docker Compose", "missing")
    if receipt.gpu and receipt.service_manager == "compose" and not facts.toolkit and "nvidia_ctk" in gone:
        yield Drift("NVIDIA Container Toolkit", "missing")
    if receipt.gpu and facts.nvidia.state in _COUNTED and receipt.gpu not in {gpu.uuid for gpu in facts.nvidia.gpus}:
        yield Drift(f"GPU {receipt.gpu}", "missing")
    if facts.service is not None and facts.service.healer not in ("", STANDING):
        yield Drift(HEAL_TIMER, "stopped")
    if facts.service is not None and facts.service.gateway not in ("", STANDING):
        yield Drift(GATEWAY_UNIT, "stopped")
    # One that fails is said in a note: to start it again makes no other kernel.
    guard = facts.service.guard if facts.service is not None and not facts.service.unguardable else ""
    if guard not in ("", STANDING):
        yield Drift(GUARD_UNIT, UNGUARDED if guard == UNGUARDED else "stopped")


def taken(facts: HostFacts) -> str:
    """Return the address and port of the committed release where another program listens, "" where none does.

    Ours is who listens while systemd has the port, a process of the unit runs, or the engine's container does; and
    where a release is half done, whose container no receipt names yet.
    """
    receipt, service = facts.receipt, facts.service
    if not receipt.port or service is None or service.socket.startswith("active"):
        return ""
    if facts.orphaned or facts.journal.open:
        return ""
    ours = service.main_pid != 0
    if receipt.service_manager == "compose" and receipt.containers is not None:
        ours = "engine" not in receipt.missing_containers
    places = ((at, port) for at, port in facts.listening if port == receipt.port and not ours)
    found = [at for at, _ in places if at in (receipt.bind, *EVERYWHERE) or receipt.bind in EVERYWHERE]
    return f"{found[0]}:{receipt.port}" if found else ""
