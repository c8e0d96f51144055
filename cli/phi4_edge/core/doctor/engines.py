"""Checks of what engines run on that only the doctor looks at: what Docker says of itself, limits, specifications."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from phi4_edge.core.doctor.case import Case, Finding
from phi4_edge.core.judge import system
from phi4_edge.core.text import gib, version_of


def _info(case: Case) -> Mapping[str, Any]:
    try:
        found = json.loads(case.root.text("docker_info") or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def docker(case: Case) -> Iterator[Finding]:
    """What Docker, where it answers, says of itself beside what the plan depends on."""
    if case.facts is None or case.facts.podman or not case.facts.docker:
        return
    info = _info(case)
    groups = case.facts.system.controllers
    if info.get("MemoryLimit") is False and (not groups or "memory" in groups):
        yield case.warning(
            "cgroups", "Docker cannot limit the memory of containers", "limits: an engine must not take the host down",
            system.memory_controller(case.facts),
        )  # fmt: skip
    runtimes = info.get("Runtimes")
    gpu = case.plan is not None and case.plan.accelerator == "cuda" and case.plan.service_manager == "compose"
    if gpu and case.facts.toolkit and isinstance(runtimes, dict) and "nvidia" not in runtimes:
        fix = "nothing to do: provision sets it; by hand: sudo nvidia-ctk runtime configure --runtime=docker"
        yield case.note("toolkit", "Docker does not know the runtime of NVIDIA's toolkit", "the runtime nvidia", fix)


def stopped_by_a_restart(case: Case) -> int:
    """Return how many containers a restart of Docker would stop."""
    info = _info(case)
    running = info.get("ContainersRunning")
    return running if isinstance(running, int) and info.get("LiveRestoreEnabled") is not True else 0


def limits(case: Case) -> Iterator[Finding]:
    """What limits this host itself."""
    if case.facts is None:
        return
    limit, quota = case.facts.cgroup.memory_limit, case.facts.cpu.quota
    cpu = case.facts.cpu
    said = [f"{gib(limit)} of memory ({case.facts.cgroup.memory_by})"] if limit and limit < case.facts.mem_total else []
    said += [f"{quota:g} CPUs ({cpu.quota_by})"] if quota else []
    said += [f"{cpu.processors} processors ({cpu.cpuset_by})"] if cpu.cpuset_by else []
    if said:
        yield case.note(
            "cgroups", f"the host is a container, or in a slice, limited to {' and '.join(said)}",
            "the whole machine, or a plan that fits the limits: it takes them into account",
            "systemctl show -p MemoryMax,MemoryHigh,CPUQuotaPerSecUSec,AllowedCPUs -- -.slice system.slice",
        )  # fmt: skip


def specification(case: Case) -> Iterator[Finding]:
    """A specification for containers (CDI) names the driver's files by version: an older one hands over none."""
    facts = case.facts
    if facts is None or not facts.toolkit or not facts.nvidia.gpus or facts.board_of(facts.nvidia.gpus[0]):
        return
    for line in case.root.lines("cdi"):
        path, _, version = line.partition(" ")
        driver = facts.nvidia.gpus[0].driver
        if version_of(version) and driver and version_of(version) != version_of(driver):
            fix = f"sudo nvidia-ctk cdi generate --output={path}"
            yield case.warning("toolkit", f"{path} is for driver {version}, {driver} is loaded", "the same", fix)
