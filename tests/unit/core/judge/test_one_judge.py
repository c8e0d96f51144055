"""The plan and the doctor say the same of one host: a table of what each must say, and all hosts with faults at random.

(a) What the doctor calls a problem is a blocker of the plan, or why nothing fits; what it warns of about paths, kernel,
packages and GPU is a warning of the plan, unless it comes and goes by itself. (b) No blocker is unknown to the doctor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi4_edge.core.doctor import examine
from phi4_edge.core.doctor.case import Case, Finding
from phi4_edge.core.judge import judge
from phi4_edge.core.judge.condition import Level
from phi4_edge.core.judge.wanted import Wanted
from phi4_edge.errors import FactsError
from tests.unit.core.doctor.faults import CATALOG, FAULTS, HOSTS, case, load
from tests.unit.core.judge.mutations import MUTATIONS

PLAIN, GPU, BARE = "n150-8gb", "xeon-rtx3060-driver570", "rtx3060-no-driver"
COMPOSE = {"phi4_engine": "ollama", "phi4_service_manager": "compose"}
ONNX, INSTALL = {"phi4_engine": "onnx"}, {"nvidia_runtime_driver_install": "true"}
FORCE, TOLERANT = {"phi4_force": "true"}, {"phi4_accept_below_floor": "docker,runc"}
BLOCKED, WARNED, NO_FIT, NOTED, PASSING, SILENT = "blockers", "warnings", "missing", "note", "passing", ""
# Fault, host, variables, where the plan says it, and words that plan and doctor have in common.
TABLE: list[tuple[str, str, dict[str, str], str, str]] = [
    ("releases read-only", PLAIN, {}, BLOCKED, "/opt/phi4-edge is on a file system that is mounted read-only"),
    ("models read-only", PLAIN, FORCE, BLOCKED, "/var/lib/phi4-edge is on a file system that is mounted read-only"),
    ("images read-only", PLAIN, COMPOSE, BLOCKED, "/var/lib/docker is on a file system that is mounted read-only"),
    ("images read-only", PLAIN, {}, SILENT, "read-only"),
    ("system read-only", PLAIN, {}, BLOCKED, "/etc is on a file system that is mounted read-only"),
    ("dpkg read-only", PLAIN, COMPOSE, BLOCKED, "/var/lib/dpkg is on a file system that is mounted read-only"),
    ("dpkg read-only", PLAIN, {}, SILENT, "read-only"),
    ("releases noexec", PLAIN, {}, BLOCKED, "mounted noexec"),
    ("releases noexec", PLAIN, COMPOSE, SILENT, "noexec"),
    ("images noexec", PLAIN, COMPOSE, BLOCKED, "mounted noexec"),
    ("link", PLAIN, {}, BLOCKED, "/opt/phi4-edge is a symbolic link"),
    ("file", PLAIN, {}, BLOCKED, "/opt/phi4-edge is no directory"),
    ("another user", PLAIN, {}, BLOCKED, "/opt/phi4-edge is another user's directory"),
    ("tmpfs", PLAIN, {}, BLOCKED, "is kept in memory (tmpfs)"),
    ("overlay", PLAIN, {}, BLOCKED, "is kept in memory (an overlay on tmpfs)"),
    ("overlay", PLAIN, FORCE, WARNED, "is kept in memory (an overlay on tmpfs)"),
    ("full", PLAIN, {}, BLOCKED, "1.0 GB free now below"),
    ("no inodes", PLAIN, {}, BLOCKED, "12 more files can be created"),
    ("ext4 errors", PLAIN, {}, WARNED, "the file system on sda2 has recorded 3 errors"),
    ("no memory controller", PLAIN, {}, WARNED, "the kernel has no control group for memory"),
    ("no cgroups", PLAIN, {}, WARNED, "no control groups at /sys/fs/cgroup"),
    ("32 bits", PLAIN, {}, NO_FIT, "found a 32-bit system (armhf) under a 64-bit kernel"),
    ("rescue", PLAIN, {}, BLOCKED, "systemd is in state maintenance"),
    ("dead systemd", PLAIN, {}, BLOCKED, "systemd does not answer"),
    ("slow systemd", PLAIN, {}, PASSING, "systemd does not answer"),
    ("starting", PLAIN, {}, PASSING, "the host is still starting"),
    ("few inodes", PLAIN, {}, PASSING, "20000 more files can be created"),
    ("old glibc", PLAIN, ONNX, NO_FIT, "glibc 2.17, needs"),
    ("musl", PLAIN, ONNX, NO_FIT, "C library musl, needs glibc"),
    ("old Python", PLAIN, ONNX, NO_FIT, "Python 3.8.10, needs"),
    ("dpkg interrupted", PLAIN, COMPOSE, BLOCKED, "dpkg was interrupted"),
    ("dpkg interrupted", PLAIN, {}, WARNED, "dpkg was interrupted"),
    ("half-installed", PLAIN, COMPOSE, BLOCKED, "half-installed packages: man-db, libc-bin"),
    ("docker masked", PLAIN, COMPOSE, BLOCKED, "docker.service is masked"),
    ("docker failed", PLAIN, COMPOSE, WARNED, "docker.service is failed"),
    ("docker stopped", PLAIN, COMPOSE, WARNED, "docker.service is inactive"),
    ("docker snap", PLAIN, COMPOSE, BLOCKED, "Docker from a snap"),
    ("docker snap", PLAIN, {}, NOTED, "Docker from a snap"),
    ("podman", PLAIN, COMPOSE, BLOCKED, "Podman 5.4.2 as `docker`"),
    ("old docker", PLAIN, COMPOSE, BLOCKED, "docker 26.1.5: open to CVE"),
    ("old docker", PLAIN, {}, WARNED, "docker 26.1.5: open to CVE"),
    ("old docker", PLAIN, {**COMPOSE, "phi4_accept_below_floor": "docker,runc"}, NOTED, "docker 26.1.5: open to CVE"),
    ("docker without CDI", GPU, {**COMPOSE, **TOLERANT}, BLOCKED, "Docker 24.0.9, which knows no CDI devices"),
    ("docker without CDI", PLAIN, {**COMPOSE, **TOLERANT}, SILENT, "CDI"),
    ("docker without CDI", GPU, {**COMPOSE, "phi4_service_manager": "systemd", **TOLERANT}, SILENT, "CDI"),
    ("first docker with CDI", GPU, {**COMPOSE, **TOLERANT}, SILENT, "CDI"),
    ("nothing", PLAIN, COMPOSE, NOTED, "no Docker Engine"),
    ("old compose", PLAIN, COMPOSE, NOTED, "Compose 1.29.2 beside Docker"),
    ("unnumbered docker", PLAIN, COMPOSE, WARNED, "Docker is there without a version number (dev)"),
    ("docker hangs", PLAIN, COMPOSE, PASSING, "docker info does not answer in time"),
    ("vfs", PLAIN, COMPOSE, WARNED, "Docker stores images with vfs"),
    ("another distribution", PLAIN, COMPOSE, BLOCKED, "Fedora Linux 42 without Docker with Compose 2"),
    ("masked unit", PLAIN, {}, BLOCKED, "phi4-edge.service is masked"),
    ("foreign unit", PLAIN, {}, BLOCKED, 'is not ours ("A bot of the workshop")'),
    ("port taken", PLAIN, {}, BLOCKED, "port 8080 is in use on 0.0.0.0"),
    ("no driver", BARE, {}, WARNED, "NVIDIA GPU 10de:2504 without the NVIDIA driver"),
    ("no driver", BARE, ONNX, NOTED, "NVIDIA GPU 10de:2504 without the NVIDIA driver"),
    ("no driver", BARE, INSTALL, NOTED, "NVIDIA GPU 10de:2504 without the NVIDIA driver"),
    ("nouveau", BARE, {}, WARNED, "without the NVIDIA driver (nouveau is loaded instead)"),
    ("kepler", BARE, {}, WARNED, "NVIDIA GPU 10de:102d without the NVIDIA driver"),
    ("vfio", BARE, {}, NOTED, "at 0000:01:00.0 (vfio-pci) given to a virtual machine"),
    ("mismatch", GPU, {}, WARNED, "whose kernel driver and library differ in version"),
    ("no devices", GPU, {}, WARNED, "whose driver sees no device"),
    ("old driver", GPU, {}, WARNED, "NVIDIA driver 470.223.2, needs"),
    ("old GPU", GPU, {}, WARNED, "compute capability 3.5 < "),
    ("MIG", GPU, {}, WARNED, "in MIG mode, which phi4-edge does not use"),
    ("prohibited", GPU, {}, WARNED, "in compute mode Prohibited"),
    ("exclusive", GPU, {}, WARNED, "is in an exclusive compute mode"),
    ("nouveau beside", GPU, {}, WARNED, "the nouveau module is loaded beside the NVIDIA driver"),
    ("secure boot", BARE, INSTALL, BLOCKED, "Secure Boot switched on"),
    ("secure boot", BARE, {}, WARNED, "Secure Boot is on, and the GPU has no working driver"),
]
# What comes and goes while nobody changes anything: the doctor's alone, unless it is in the way.
PASSES = ("more files can be created", " free below ", "still starting", "not answer in time", "systemd does not")
LEVELS = {
    BLOCKED: Level.PROBLEM,
    WARNED: Level.WARNING,
    NO_FIT: Level.PROBLEM,
    NOTED: Level.NOTE,
    PASSING: Level.WARNING,
}


@pytest.mark.parametrize(("fault", "host", "variables", "where", "words"), TABLE)
def test_the_plan_says_what_the_doctor_says(
    fault: str, host: str, variables: dict[str, str], where: str, words: str
) -> None:
    whole = case({"host": host, "sources": MUTATIONS[fault], "variables": variables})
    assert whole.plan is not None
    for name in (BLOCKED, WARNED, NO_FIT):
        said = [text for text in getattr(whole.plan, name) if words in text]
        assert len(said) == (name == where), (name, getattr(whole.plan, name))
    found = [finding for finding in examine.examine(whole) if words in finding.found]
    assert [finding.level for finding in found] == ([LEVELS[where]] if where else [])
    agree(whole)


def agree(whole: Case) -> None:
    """Both statements of this module, for one host."""
    plan = whole.plan
    assert plan is not None
    found = [finding for finding in examine.examine(whole) if finding.check in judge.CHECKS]
    problems = [one for one in found if one.level is Level.PROBLEM]
    for problem in problems:
        assert any(said(problem, text) for text in plan.blockers), (problem, plan.blockers)
    for warning in (one for one in found if one.level is Level.WARNING):
        passing = any(words in warning.found for words in PASSES)
        own = warning.check in ("memory", "toolkit") or plan.action == "none"
        assert passing or own or any(said(warning, text) for text in plan.warnings), (warning, plan.warnings)
    for text in plan.blockers:
        assert any(said(problem, text) for problem in problems), (text, problems)
    if not plan.fits:
        (no_fit,) = (one for one in examine.examine(whole) if one.check == "plan" and one.level is Level.PROBLEM)
        assert plan.missing and no_fit.found.startswith("; ".join(plan.missing)[:100])


def said(finding: Finding, text: str) -> bool:
    """Whether a sentence of the plan is the doctor's finding; the doctor may add who holds a port."""
    cut = finding.found.partition(" by process ")[0].partition(" (module ")[0]
    return cut[:500] in " ".join(text.split()) and finding.fix[:400] in " ".join(text.split())


@pytest.mark.parametrize("variables", [{}, ONNX, COMPOSE, INSTALL], ids=["auto", "onnx", "compose", "driver"])
@pytest.mark.parametrize("path", HOSTS, ids=lambda path: path.stem)
def test_plan_and_doctor_agree_on_every_host(path: Path, variables: dict[str, str]) -> None:
    agree(case({"host": path.stem, "variables": variables}))


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_plan_and_doctor_agree_on_every_fault(path: Path) -> None:
    fault = load(path)
    agree(case({name: fault[name] for name in ("host", "sources", "variables") if name in fault}))


VARIABLES: Any = st.fixed_dictionaries(
    {},
    optional={
        "phi4_engine": st.sampled_from(("onnx", "ollama", "vllm")),
        "phi4_service_manager": st.sampled_from(("systemd", "compose")),
        "phi4_profile": st.sampled_from(("production_gpu", "production_cpu", "edge_optimized", "development")),
        "phi4_force": st.just("true"),
        "webui_enabled": st.just("true"),
        "nvidia_runtime_driver_install": st.just("true"),
        "phi4_accept_below_floor": st.sampled_from(("docker", "runc,nvidia-container-toolkit")),
    },
)


@settings(max_examples=150)
@given(
    st.sampled_from([path.stem for path in HOSTS]),
    st.lists(st.sampled_from(sorted(MUTATIONS)), max_size=5, unique=True),
    VARIABLES,
)
def test_plan_and_doctor_agree_whatever_is_wrong(host: str, faults: list[str], variables: dict[str, str]) -> None:
    sources: dict[str, Any] = {}
    for fault in faults:
        sources |= MUTATIONS[fault]
    try:
        whole = case({"host": host, "sources": sources, "variables": variables})
    except FactsError:
        return
    agree(whole)


@pytest.mark.parametrize("fault", ["system read-only", "rescue", "link", "masked unit"])
def test_nothing_is_in_the_way_of_a_host_that_is_as_planned(fault: str) -> None:
    """What would be in the way of a change is a warning there, for the plan and for the doctor."""
    facts = case({"host": PLAIN, "sources": MUTATIONS[fault]}).facts
    assert facts is not None
    change = judge.judge(facts, CATALOG, Wanted(native=True))
    idle = judge.judge(facts, CATALOG, Wanted(native=True, idle=True))
    assert Level.PROBLEM in {one.level for one in change} and Level.PROBLEM not in {one.level for one in idle}
    assert [one.sentence for one in change] == [one.sentence for one in idle]
