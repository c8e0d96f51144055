"""What is done on a host before and around the release: the roles in order, and what they will install."""

from __future__ import annotations

from phi4_edge.core.catalog.model import Floor
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.packages.docker import SUITES, by_hand
from phi4_edge.core.plan import gates
from phi4_edge.core.plan.context import Chosen
from phi4_edge.core.plan.model import Install
from phi4_edge.core.text import dotted, version_of
from phi4_edge.errors import AGAIN

TOOLKIT = "nvidia-container-toolkit"
# `docker compose` is the plugin; version 1 was a program of its own and reads our files otherwise.
COMPOSE_MAJOR = 2
_YOURSELF = "install it there yourself"


def install(it: Chosen) -> Install:
    """Return what the roles have to install, as far as the facts tell."""
    toolkit, floor = it.facts.toolkit, _floor(it)
    # A Jetson's comes with JetPack, never from us: one that is too old there is in the way.
    too_old = floor is not None and () < version_of(toolkit) < floor.minimum and it.facts.jetson is None
    return Install(
        docker=it.needs_docker and not (it.facts.docker and compose_there(it.facts)),
        nvidia_toolkit=it.needs_toolkit and (not toolkit or too_old),
        nvidia_driver=gates.driver_wanted(it.facts, it.catalog, it.overrides),
    )


def steps(it: Chosen, planned: Install) -> tuple[str, ...]:
    """Return the roles to apply, in order."""
    found = [
        ("docker", it.needs_docker),
        ("nvidia_runtime", it.needs_toolkit or planned.nvidia_driver),
        ("artifact", True),
        (it.engine.name, True),
        ("webui", it.overrides.webui_enabled),
        ("service", True),
        ("health", True),
        ("receipt", True),
    ]
    return tuple(name for name, used in found if used)


def prerequisites(it: Chosen, planned: Install) -> tuple[str, ...]:
    """Return what is installed first, as sentences."""
    facts, found = it.facts, []
    if planned.docker and not facts.docker:
        found.append("Docker Engine with its Compose plugin is installed first")
    elif planned.docker:
        had = f"the Compose found is {facts.compose}" if facts.compose else "it is missing"
        found.append(f"the Compose plugin for Docker {facts.docker} is installed first ({had})")
    if planned.nvidia_toolkit:
        floor = _floor(it)
        old = f"{facts.toolkit} is updated" if facts.toolkit else "is installed"
        why = f" (older than {dotted(floor.minimum)}: {floor.why})" if facts.toolkit and floor is not None else ""
        source = " from JetPack's packages" if facts.jetson is not None else ""
        found.append(
            f"the NVIDIA Container Toolkit {old} first{source}{why}, and Docker's configuration is extended for it"
        )
    return (*found, *_driver(facts, planned))


def obstacles(it: Chosen, planned: Install) -> tuple[str, ...]:
    """Return what would have to be installed first on a system that the roles install nothing on."""
    system, facts = it.facts.os, it.facts
    if facts.podman and it.needs_docker:
        return (
            f"found Podman {facts.podman} as `docker`, needed Docker Engine: remove podman-docker (or what else stands "
            "for docker there), or choose what needs no containers",
        )
    if (system.id, system.version_id) in SUITES:
        return ()
    named = {
        # Where Compose is, the engine is too: it only gave no answer, and the role starts it.
        "Docker with Compose 2": planned.docker and not compose_there(facts),
        "the NVIDIA Container Toolkit": planned.nvidia_toolkit and facts.jetson is None,
        "the NVIDIA driver": planned.nvidia_driver,
    }
    missing = [name for name, wanted in named.items() if wanted]
    if not missing:
        return ()
    known = ", ".join(" ".join(pair) for pair in SUITES)
    itself = by_hand(system.id, system.version_id, facts.docker) if named["Docker with Compose 2"] else _YOURSELF
    native = " or ".join(sorted(name for name, engine in ENGINES.items() if engine.native))
    return (
        f"found {system.pretty_name or 'an unknown system'} without {' and '.join(missing)}, which phi4-edge installs "
        f"only on {known}: {itself}; or choose what does not need it (phi4_engine: {native}, "
        "phi4_service_manager: systemd, no webui_enabled, no nvidia_runtime_driver_install)",
    )


def _driver(facts: HostFacts, planned: Install) -> list[str]:
    if not planned.nvidia_driver:
        return []
    found = [
        f"the NVIDIA driver is installed (branch {gates.DRIVER_BRANCH} on Ubuntu, nvidia_runtime_driver_branch changes "
        "it; Debian has one per release). It works after a reboot, which needs --allow-reboot; until then this plan "
        f"for the CPU is carried out: {AGAIN} afterwards"
    ]
    if facts.nvidia.nouveau:
        found.append("nouveau is loaded instead of the driver: from the next reboot on it is kept from loading")
    if facts.secure_boot:
        found.append(
            "Secure Boot is on: only modules signed with a key that the firmware trusts will load. Those of Ubuntu "
            "are; elsewhere the driver is refused until a key of yours is enrolled (mokutil) or Secure Boot is off"
        )
    return found


def compose_there(facts: HostFacts) -> bool:
    """Return whether there is a Compose that reads our files; one that answers without a number is no old one."""
    return facts.compose != "" and (version_of(facts.compose) or (COMPOSE_MAJOR,)) >= (COMPOSE_MAJOR,)


def _floor(it: Chosen) -> Floor | None:
    return None if TOOLKIT in it.overrides.accept_below_floor else it.catalog.floors.get(TOOLKIT)
