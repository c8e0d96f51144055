"""What is done on a host before and around the release: the roles in order, and what they will install."""

from __future__ import annotations

from phi4_edge.core.catalog.model import Floor
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.judge import driver
from phi4_edge.core.judge.containers import STOPPED, compose_there, docker_there
from phi4_edge.core.plan.context import Chosen
from phi4_edge.core.plan.model import Install
from phi4_edge.core.text import dotted, version_of
from phi4_edge.errors import AGAIN

TOOLKIT = "nvidia-container-toolkit"


def install(it: Chosen) -> Install:
    """Return what the roles have to install, as far as the facts tell."""
    toolkit, floor = it.facts.toolkit, _floor(it)
    # A Jetson's comes with JetPack, never from us: one that is too old there is in the way.
    too_old = floor is not None and () < version_of(toolkit) < floor.minimum and it.facts.jetson is None
    return Install(
        docker=it.needs_docker and not (docker_there(it.facts) and compose_there(it.facts)),
        nvidia_toolkit=it.needs_toolkit and (not toolkit or too_old),
        nvidia_driver=driver.wanted(it.facts, it.catalog, it.overrides),
    )


def steps(it: Chosen, planned: Install) -> tuple[str, ...]:
    """Return the roles to apply, in order."""
    found = [
        ("docker", it.needs_docker),
        ("nvidia_runtime", it.needs_toolkit or planned.nvidia_driver),
        ("artifact", True),
        (it.engine.name, True),
        ("webui", it.overrides.webui_enabled),
        ("gateway", it.overrides.gateway),
        ("service", True),
        ("health", True),
        ("receipt", True),
    ]
    return tuple(name for name, used in found if used)


def prerequisites(it: Chosen, planned: Install) -> tuple[str, ...]:
    """Return what is installed first, as sentences."""
    facts, found = it.facts, []
    if planned.docker and not docker_there(facts):
        found.append("Docker Engine with its Compose plugin is installed first")
    elif planned.docker:
        had = f"the Compose found is {facts.compose}" if facts.compose else "it is missing"
        engine = f"Docker {facts.docker}".rstrip()
        found.append(f"the Compose plugin for {engine} is installed first ({had})")
    if it.needs_docker and docker_there(facts) and not facts.docker and facts.system.docker_unit in STOPPED:
        found.append(f"Docker is started first (docker.service is {facts.system.docker_unit})")
    if planned.nvidia_toolkit:
        floor = _floor(it)
        old = f"{facts.toolkit} is updated" if facts.toolkit else "is installed"
        why = f" (older than {dotted(floor.minimum)}: {floor.why})" if facts.toolkit and floor is not None else ""
        source = " from JetPack's packages" if facts.jetson is not None else ""
        found.append(
            f"the NVIDIA Container Toolkit {old} first{source}{why}, and Docker's configuration is extended for it"
        )
    return (*found, *_driver(facts, planned))


def _driver(facts: HostFacts, planned: Install) -> list[str]:
    if not planned.nvidia_driver:
        return []
    found = [
        f"the NVIDIA driver is installed (branch {driver.BRANCH} on Ubuntu, nvidia_runtime_driver_branch changes "
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


def _floor(it: Chosen) -> Floor | None:
    return None if TOOLKIT in it.overrides.accept_below_floor else it.catalog.floors.get(TOOLKIT)
