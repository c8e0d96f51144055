"""Control groups: the limits on what will run, whoever looked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse as facts_parse

Make = Callable[..., Any]
TOP = "/sys/fs/cgroup"
WHOLE = 7968768 * 1024
TWO, FOUR = 2 << 30, 4 << 30


def said(*lines: str, version: str = "v2") -> str:
    return "\n".join([version, *lines])


# What documents of older versions have of a host: the groups of the login.
LOGINS = {
    "all users": said(
        f"memory {TOP}/user.slice/user-1000.slice/session-4.scope max",
        f"memory {TOP}/user.slice/user-1000.slice {TWO}",
        f"cpu {TOP}/user.slice/user-1000.slice 100000 100000",
    ),
    "the users' slice": said(f"memory {TOP}/user.slice {TWO}", f"cpu {TOP}/user.slice 100000 100000"),
    "the user's manager": said(
        f"memory {TOP}/user.slice/user-0.slice/user@0.service/app.slice/run-1.scope {TWO}",
        f"memory {TOP}/user.slice/user-0.slice/user@0.service max",
        f"cpu {TOP}/user.slice/user-0.slice/user@0.service 50000 100000",
    ),
    "sshd without sessions": said(
        f"memory {TOP}/system.slice/ssh.service {TWO}", f"memory {TOP}/system.slice max",
        f"cpu {TOP}/system.slice/ssh.service 100000 100000",
    ),
    "one sshd for each login": said(
        f"memory {TOP}/system.slice/system-sshd.slice/sshd@1.service max",
        f"memory {TOP}/system.slice/system-sshd.slice {TWO}",
        f"cpu {TOP}/system.slice/system-sshd.slice 100000 100000",
    ),
    "version 1": said(
        f"memory {TOP}/memory/user.slice/user-1000.slice {TWO}", f"memory {TOP}/memory max",
        f"cpu {TOP}/cpu,cpuacct/user.slice 100000 100000", version="v1",
    ),
    "hybrid": said(
        f"memory {TOP}/memory/user.slice {TWO}", f"cpu {TOP}/cpu/user.slice 100000 100000", version="hybrid"
    ),
    "in a container": said(
        f"memory {TOP}/docker/0a1b/user.slice/user-1000.slice {TWO}", f"memory {TOP}/docker/0a1b max",
        f"cpu {TOP}/docker/0a1b/user.slice 100000 100000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGINS)
def test_limits_on_logins_do_not_bind_a_service_of_systemd(document: Make, plan: Make, name: str) -> None:
    whole = document("n150-8gb", cgroup=LOGINS[name])
    found = facts_parse.parse(whole)
    assert (found.ram_bytes, found.cgroup.memory_limit, found.cpu.quota, found.ram_by) == (WHOLE, None, None, "")
    made = plan(whole)
    assert (made.profile, made.knobs["threads"]) == ("production_cpu", 4)
    assert "cgroup" not in " ".join(made.reasons)
    # Elsewhere a service is started from a login, or nobody knows.
    other = facts_parse.parse(document("n150-8gb", cgroup=LOGINS[name], init="init offline"))
    assert (other.ram_bytes, other.cpu.usable_cores) == (TWO, 1)


BINDING = {
    "services": (f"{TOP}/user.slice", f"{TOP}/system.slice", "v2", "memory.max of cgroup /system.slice"),
    "services, seen by one": (
        f"{TOP}/system.slice/ssh.service", f"{TOP}/system.slice", "v2", "memory.max of cgroup /system.slice"
    ),
    "the root of a container": (f"{TOP}/user.slice/user-0.slice", TOP, "v2", "memory.max of cgroup /"),
    "a container below the root": (
        f"{TOP}/docker/0a1b/user.slice", f"{TOP}/docker/0a1b", "v2", "memory.max of cgroup /docker/0a1b"
    ),
    "its services": (
        f"{TOP}/docker/0a1b/user.slice", f"{TOP}/docker/0a1b/system.slice", "v2",
        "memory.max of cgroup /docker/0a1b/system.slice",
    ),
    "what holds a container": (
        f"{TOP}/system.slice/docker-0a1b.scope/user.slice", f"{TOP}/system.slice", "v2",
        "memory.max of cgroup /system.slice",
    ),
    "a pod": (
        f"{TOP}/kubepods.slice/kubepods-pod7.slice/cri-containerd-0a1b.scope/user.slice",
        f"{TOP}/kubepods.slice/kubepods-pod7.slice", "v2", "memory.max of cgroup /kubepods.slice/kubepods-pod7.slice",
    ),
    "a container of systemd's": (
        f"{TOP}/machine.slice/systemd-nspawn@gw.service/payload/user.slice",
        f"{TOP}/machine.slice/systemd-nspawn@gw.service", "v2",
        "memory.max of cgroup /machine.slice/systemd-nspawn@gw.service",
    ),
    "version 1": (
        f"{TOP}/memory/user.slice", f"{TOP}/memory/system.slice", "v1",
        "memory.limit_in_bytes of cgroup /system.slice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BINDING)
def test_limits_above_a_service_bind_it_and_are_named(document: Make, plan: Make, name: str) -> None:
    login, group, version, by = BINDING[name]
    whole = document("n150-8gb", cgroup=said(f"memory {login} max", f"memory {group} {TWO}", version=version))
    found = facts_parse.parse(whole)
    assert (found.ram_bytes, found.ram_by) == (TWO, by)
    made = plan(whole)
    assert not made.fits
    assert f"RAM 2.0 GiB ({by}), needs 4 GB (3.6 GiB counts as that)" in made.missing
    assert f"a cgroup limits the 7.6 GiB of the machine to 2.0 GiB: {by}" in made.missing


def test_what_a_service_is_in_counts_and_not_what_the_login_is_in(document: Make, plan: Make) -> None:
    login = LOGINS["all users"]
    free = document(
        "n150-8gb", cgroup=login, service_cgroup=said(f"memory {TOP}/system.slice max", f"memory {TOP} max")
    )
    assert plan(free).profile == "production_cpu"
    service = said(f"memory {TOP}/system.slice {FOUR}", f"cpu {TOP}/system.slice 250000 100000")
    bound = plan(document("n150-8gb", cgroup=login, service_cgroup=service))
    assert (bound.profile, bound.knobs["threads"]) == ("edge_optimized", 2)
    assert "a cgroup limits the 7.6 GiB of the machine to 4.0 GiB: memory.max of cgroup /system.slice" in bound.reasons
    told = "a cgroup limits 4 cores to the time of 2.5, hence 2 threads: cpu.max of cgroup /system.slice"
    assert told in bound.reasons
    # Whatever a host without systemd says of one.
    assert facts_parse.parse(document("n150-8gb", service_cgroup=service, init="runit off")).ram_bytes == WHOLE


def test_the_tighter_of_max_and_high_counts(document: Make, plan: Make) -> None:
    for most, high, by in ((FOUR, TWO, "memory.high"), (TWO, FOUR, "memory.max"), ("max", TWO, "memory.high")):
        text = said(f"memory {TOP}/system.slice {most}", f"memory.high {TOP}/system.slice {high}")
        made = plan(document("n150-8gb", service_cgroup=text))
        assert f"RAM 2.0 GiB ({by} of cgroup /system.slice), needs" in " ".join(made.missing)
    open_ = said(f"memory {TOP}/system.slice max", f"memory.high {TOP}/system.slice max")
    assert facts_parse.parse(document("n150-8gb", service_cgroup=open_)).ram_bytes == WHOLE


@pytest.mark.parametrize(
    ("login", "started", "cpuset", "threads", "named"),
    [
        ("0-3", "0-3", "0-1", 2, True),
        ("0-1", "0-3", "0-3", 4, False),  # AllowedCPUs= for logins
        ("3", "0-3", "", 4, False),
        ("0-3", "0-2", "0-3", 3, False),  # CPUAffinity= of systemd itself
        ("0-3", "0-2", "2-3", 1, True),
        ("0-3", "0-1", "2-3", 2, True),  # a set for init.scope, and another for services
        ("0-1", "", "", 2, False),
        ("0-3", "x", "y", 4, False),
    ],
)
def test_processors_are_those_of_services(
    document: Make, plan: Make, login: str, started: str, cpuset: str, threads: int, named: bool
) -> None:
    lines = [f"memory {TOP}/system.slice max", *([f"cpuset {TOP}/system.slice {cpuset}"] if cpuset else [])]
    whole = document(
        "n150-8gb", cpu_affinity=login, service_affinity=started or None, service_cgroup=said(*lines)
    )  # fmt: skip
    made = plan(whole)
    assert made.knobs["threads"] == threads
    by = "cpuset.cpus of cgroup /system.slice"
    assert (f"a cgroup leaves {threads} processors to use: {by}" in made.reasons) is named
    asked = plan(whole, threads=threads + 1)
    use = f"the host lets us use {threads}" + (f" ({by})" if named else "")
    assert not asked.fits and use in " ".join(asked.missing)


def test_a_limit_that_is_too_low_for_what_was_asked_is_named_with_it(document: Make, plan: Make) -> None:
    text = said(f"memory {TOP}/system.slice {5 << 30}")
    made = plan(document("n150-8gb", service_cgroup=text), engine="onnx", parallel=4)
    assert not made.fits
    assert "host has 5.4 GB (memory.max of cgroup /system.slice), " in " ".join(made.missing)


def test_nonsense_about_services_is_a_gap_and_no_limit(document: Make) -> None:
    found = facts_parse.parse(document("n150-8gb", service_cgroup="v9\nmemory x y\ncpu\nother 1 2\nmemory.high /a -5"))
    assert (found.ram_bytes, found.cpu.quota, found.cpu.cpuset_by) == (WHOLE, None, "")
    assert [gap.kind for gap in found.gaps if gap.source == "service_cgroup"] == ["nonsense"]
    for absent in ({"gap": "denied", "detail": "x"}, {"gap": "missing", "detail": "x"}, "", None):
        whole = document("n150-8gb", service_cgroup=absent, cgroup=LOGINS["all users"])
        assert facts_parse.parse(whole).ram_bytes == WHOLE
