"""What containers run in: Docker, its Compose, NVIDIA's toolkit, and whether we install what is missing."""

from __future__ import annotations

from collections.abc import Iterator

from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.judge.condition import Condition, Level
from phi4_edge.core.judge.wanted import Wanted
from phi4_edge.core.packages import commands
from phi4_edge.core.packages.docker import SUITES, by_hand
from phi4_edge.core.packages.nvidia import installable
from phi4_edge.core.text import version_of

# `docker compose` is the plugin; version 1 was a program of its own and reads our files otherwise.
COMPOSE_MAJOR = 2
# The first whose daemon.json can switch CDI on, by which a GPU is handed to a container.
CDI_MAJOR = 25
BY_US = "nothing to do: provision"
# States of docker.service from which role docker starts it.
STOPPED = ("inactive", "failed")


def compose_there(facts: HostFacts) -> bool:
    """Return whether there is a Compose that reads our files; one that answers without a number is no old one."""
    return facts.compose != "" and (version_of(facts.compose) or (COMPOSE_MAJOR,)) >= (COMPOSE_MAJOR,)


def docker_there(facts: HostFacts) -> bool:
    """Return whether Docker's engine is installed, also one that does not answer now."""
    return not facts.podman and (facts.docker != "" or facts.system.docker_unit not in ("", "missing"))


def conditions(facts: HostFacts, wanted: Wanted) -> Iterator[Condition]:
    """Yield what is wrong with what containers need; where none will run, it is good to know at most."""
    if facts.podman:
        yield from _podman(facts, wanted)
        return
    yield from _missing(facts, wanted)
    if facts.system.docker_snap:
        level = Level.PROBLEM if wanted.docker else Level.NOTE
        fix = "sudo snap remove docker; provision installs Docker's packages where the plan needs them"
        yield Condition("docker", level, "Docker from a snap", "one from packages", fix)
    if facts.orphaned:
        found = f"Docker holds {facts.orphaned} for no container, as it may after a power cut in the middle of a start"
        needed = "a free port: starting the service restarts Docker where that is harmless, once per boot"
        yield Condition("port", Level.WARNING, found, needed, "sudo systemctl restart docker")
    if facts.docker:
        yield from _daemon(facts, wanted)
    else:
        yield from _silent(facts, wanted)
    if wanted.installs.docker and docker_there(facts):
        had = f"Compose {facts.compose}" if facts.compose else "no Compose"
        fix = by_hand(facts.os.id, facts.os.version_id, facts.docker)
        if installable(facts):
            fix = f"{BY_US} installs it; by hand: {commands.install(facts.os, 'docker-compose-plugin')}"
        yield Condition("docker", Level.NOTE, f"{had} beside Docker", "Compose 2", fix)
    if wanted.installs.toolkit and not facts.toolkit and (installable(facts) or facts.jetson is not None):
        yield Condition(
            "toolkit", Level.NOTE, "no NVIDIA Container Toolkit", "it: containers use the GPU", f"{BY_US} installs it"
        )


def _podman(facts: HostFacts, wanted: Wanted) -> Iterator[Condition]:
    if wanted.docker:
        yield Condition(
            "docker", Level.PROBLEM, f"Podman {facts.podman} as `docker`", "Docker Engine",
            "remove podman-docker (or what else stands for docker there), or choose what needs no containers",
        )  # fmt: skip


def _missing(facts: HostFacts, wanted: Wanted) -> Iterator[Condition]:
    """What would have to be installed first on a system that the roles install nothing on."""
    if installable(facts):
        return
    named = {
        # Where Compose is, the engine is too: it only gave no answer, and the role starts it.
        "Docker with Compose 2": wanted.installs.docker and not compose_there(facts),
        "the NVIDIA Container Toolkit": wanted.installs.toolkit and facts.jetson is None,
        "the NVIDIA driver": wanted.installs.driver,
    }
    missing = " and ".join(name for name, needed in named.items() if needed)
    if missing:
        known = ", ".join(" ".join(pair) for pair in SUITES)
        docker = named["Docker with Compose 2"]
        itself = by_hand(facts.os.id, facts.os.version_id, facts.docker) if docker else "install it there yourself"
        native = " or ".join(sorted(name for name, engine in ENGINES.items() if engine.native))
        yield Condition(
            "packages", Level.PROBLEM,
            f"{facts.os.pretty_name or 'an unknown system'} without {missing}, which phi4-edge installs only on "
            f"{known}", "it there", f"{itself}; or choose what does not need it (phi4_engine: {native}, "
            "phi4_service_manager: systemd, no webui_enabled, no nvidia_runtime_driver_install)",
        )  # fmt: skip


def _silent(facts: HostFacts, wanted: Wanted) -> Iterator[Condition]:
    gap = next((gap for gap in facts.gaps if gap.source == "docker" and gap.kind != "missing"), None)
    said, unit = gap.detail if gap is not None else "", facts.system.docker_unit
    if unit in ("", "missing"):
        if gap is not None:
            yield _without_service(facts, said, known=unit == "missing")
        elif wanted.installs.docker and installable(facts):
            yield Condition("docker", Level.NOTE, "no Docker Engine", "it, with Compose 2", f"{BY_US} installs it")
        return
    more = f"; {said}" if said else ""
    found = f"Docker is installed but its daemon does not answer (docker.service is {unit}{more})"
    if unit == "masked":
        fix = "sudo systemctl unmask docker.service docker.socket && sudo systemctl enable --now docker"
        level = Level.PROBLEM if wanted.docker else Level.WARNING
        yield Condition("docker", level, f"{found}: the unit is masked", "an answer", fix)
    elif unit == "failed":
        fix = "see why: sudo journalctl -u docker -n 50; then: sudo systemctl restart docker"
        needed = "an answer: provision starts it once more, and stops there if it fails again"
        yield Condition("docker", Level.WARNING, found, needed if wanted.docker else "an answer", fix)
    elif unit not in STOPPED:
        fix = "see why: sudo docker info; sudo journalctl -u docker -n 50"
        yield Condition("docker", Level.WARNING, found, "an answer", fix)
    else:
        started = commands.start("docker", facts)
        fix = f"{BY_US} starts it; by hand: {started}" if wanted.docker else started
        yield Condition("docker", Level.WARNING, found, "an answer", fix)


def _without_service(facts: HostFacts, said: str, known: bool) -> Condition:
    """The command answers for no daemon; `known`: systemd has no unit of that name."""
    if known:
        fix = f"{BY_US} installs Docker where the plan needs it"
        return Condition(
            "docker", Level.NOTE, "the command docker without its service", "Docker's engine, if anything", fix
        )
    found = f"Docker is installed but its daemon does not answer ({said or 'it gave no reason'})"
    return Condition("docker", Level.WARNING, found, "an answer", commands.start("docker", facts))


def _daemon(facts: HostFacts, wanted: Wanted) -> Iterator[Condition]:
    if wanted.docker and wanted.cuda and not wanted.native and () < version_of(facts.docker)[:1] < (CDI_MAJOR,):
        yield Condition(
            "docker", Level.PROBLEM, f"Docker {facts.docker}, which knows no CDI devices",
            f"{CDI_MAJOR} or newer for a GPU in containers",
            "update Docker there (from Docker's own repository), or set phi4_service_manager: systemd where the engine "
            "is offered so",
        )  # fmt: skip
    if any(gap.source == "docker_info" and gap.kind == "timeout" for gap in facts.gaps):
        fix = "sudo systemctl restart docker; see: sudo journalctl -u docker -n 50"
        found, needed = "docker info does not answer in time", "an answer within 5 s"
        yield Condition("docker", Level.WARNING, found, needed, fix, passing=True)
    if facts.docker_storage == "vfs":
        yield Condition(
            "docker", Level.WARNING, "Docker stores images with vfs, which copies every layer", "overlay2",
            "see why: sudo journalctl -u docker | grep -i overlay; sudo modprobe overlay; remove storage-driver from "
            "/etc/docker/daemon.json",
        )  # fmt: skip
