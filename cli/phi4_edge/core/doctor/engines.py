"""Checks of what engines run on: Docker, control groups, NVIDIA's driver and toolkit, Secure Boot, known flaws."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from phi4_edge.core.doctor import fix as doctor_fix
from phi4_edge.core.doctor.case import Case, Finding
from phi4_edge.core.facts.init import SYSTEMD
from phi4_edge.core.packages import docker as packages_docker
from phi4_edge.core.packages import nvidia as packages_nvidia
from phi4_edge.core.plan import gates, steps
from phi4_edge.core.plan.floors import VARIABLE
from phi4_edge.core.text import clean, dotted, gib, version_of

_PACKAGES = {
    "docker": "docker-ce docker-ce-cli containerd.io docker.io",
    "runc": "runc containerd.io",
    "nvidia-container-toolkit": "nvidia-container-toolkit nvidia-container-toolkit-base",
}


def _units(case: Case) -> dict[str, dict[str, str]]:
    """Return what systemd says of docker.service and docker.socket, by unit."""
    found: dict[str, dict[str, str]] = {}
    for block in case.root.text("docker_units").split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        found[clean(values.get("Id"), 40)] = {key: clean(value, 40) for key, value in values.items()}
    return found


def _info(case: Case) -> Mapping[str, Any]:
    try:
        found = json.loads(case.root.text("docker_info") or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def docker(case: Case) -> Iterator[Finding]:
    """Whether Docker answers, where it is there, and can do what its containers will be asked for."""
    facts, command = case.facts, clean(case.root.text("docker_command"), 200)
    if facts is None or facts.podman or (not command and not facts.docker):
        return  # nothing there, or not Docker; where the plan needs it, it says so
    yield from _orphaned_port(case)
    if command.startswith("/snap/"):
        fix = "sudo snap remove docker; provision installs Docker's packages where the plan needs them"
        yield case.when(case.needs_docker, "docker", "Docker from a snap", "one from packages", fix)
    if facts.docker:
        yield from _daemon(case)
    else:
        yield from _silent(case)
    if case.needs_docker and not steps.compose_there(facts):
        had = f"Compose {facts.compose}" if facts.compose else "no Compose"
        system = case.system
        fix = packages_docker.by_hand(system.id, system.version_id, facts.docker)
        if (system.id, system.version_id) in packages_docker.SUITES:
            fix = "nothing to do: provision installs it; by hand: " + case.install("docker-compose-plugin")
        yield case.note("docker", f"{had} beside Docker", "Compose 2", fix)


def _orphaned_port(case: Case) -> Iterator[Finding]:
    """Whether Docker holds our port for no container: nothing of ours can start then."""
    facts = case.facts
    if facts is None or not facts.orphaned:
        return
    info = _info(case)
    stays = info.get("LiveRestoreEnabled") is True
    running = info.get("ContainersRunning")
    some = isinstance(running, int) and running > 0 and not stays
    found = f"Docker holds {facts.orphaned} for no container, as it may after a power cut in the middle of a start"
    fix = "sudo systemctl restart docker" + (
        f"; meanwhile it stops {running} containers, see: docker ps" if some else ""
    )
    yield case.when(some, "port", found, "a free port: starting the service restarts Docker where that is "
                    "harmless, once per boot", fix)  # fmt: skip


def _silent(case: Case) -> Iterator[Finding]:
    unit, said = _units(case).get("docker.service", {}), case.probe.detail("docker")
    state = unit.get("ActiveState") or "unknown"
    native = case.facts is not None and case.facts.init == SYSTEMD
    why = "; ".join([*([f"docker.service is {state}"] if native else []), *([said] if said else [])])
    found = f"Docker is installed but its daemon does not answer{f' ({why})' if why else ''}"
    if unit.get("LoadState") == "not-found" and native:
        fix = "nothing to do: provision installs Docker where the plan needs it"
        yield case.note("docker", "the command docker without its service", "Docker's engine, if anything", fix)
    elif unit.get("LoadState") == "masked":
        fix = "sudo systemctl unmask docker.service docker.socket && sudo systemctl enable --now docker"
        yield case.when(case.needs_docker, "docker", f"{found}: the unit is masked", "an answer", fix)
    elif state == "failed":
        fix = "see why: sudo journalctl -u docker -n 50; then: sudo systemctl restart docker"
        yield case.when(case.needs_docker, "docker", found, "an answer", fix)
    else:
        yield case.warning("docker", found, "an answer", doctor_fix.start("docker", case.facts))


def _daemon(case: Case) -> Iterator[Finding]:
    info = _info(case)
    if case.root.gap("docker_info") == "timeout":
        fix = "sudo systemctl restart docker; see: sudo journalctl -u docker -n 50"
        yield case.when(case.needs_docker, "docker", "docker info does not answer in time", "one within 5 s", fix)
    if info.get("MemoryLimit") is False:
        yield case.warning(
            "cgroups", "Docker cannot limit the memory of containers", "limits: an engine must not take the host down",
            _memory_controller(case),
        )  # fmt: skip
    if info.get("Driver") == "vfs":
        yield case.warning(
            "docker", "Docker stores images with vfs, which copies every layer", "overlay2",
            "see why: sudo journalctl -u docker | grep -i overlay; sudo modprobe overlay; remove storage-driver from "
            "/etc/docker/daemon.json",
        )  # fmt: skip
    runtimes = info.get("Runtimes")
    gpu = case.plan is not None and case.plan.accelerator == "cuda" and case.plan.service_manager == "compose"
    toolkit = case.facts is not None and case.facts.toolkit
    if gpu and toolkit and isinstance(runtimes, dict) and "nvidia" not in runtimes:
        fix = "nothing to do: provision sets it; by hand: sudo nvidia-ctk runtime configure --runtime=docker"
        yield case.note("toolkit", "Docker does not know the runtime of NVIDIA's toolkit", "the runtime nvidia", fix)


def cgroups(case: Case) -> Iterator[Finding]:
    """Which control groups there are, whether memory can be limited, and what limits this host itself."""
    if case.facts is None:
        return
    controllers = case.root.text("cgroup_controllers").split()
    if controllers and "memory" not in controllers:
        yield case.warning(
            "cgroups", "the kernel has no control group for memory", "one: limits have no effect without it",
            _memory_controller(case),
        )  # fmt: skip
    if not case.facts.cgroup.version:
        fix = "sudo mount -t cgroup2 none /sys/fs/cgroup, or boot a kernel with control groups"
        yield case.warning("cgroups", "no control groups at /sys/fs/cgroup", "version 2", fix)
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


def _memory_controller(case: Case) -> str:
    if case.facts is not None and "raspberry" in case.facts.board.lower():
        file = "/boot/firmware/cmdline.txt"
        return f"sudo sed -i '1 s/$/ cgroup_enable=memory cgroup_memory=1/' {file} && sudo reboot"
    return "remove cgroup_disable=memory from the kernel command line (/etc/default/grub, sudo update-grub), reboot"


def nvidia(case: Case) -> Iterator[Finding]:
    """Whether a GPU that is there can be used: driver, module, library, toolkit and its specification."""
    facts = case.facts
    if facts is None or facts.nvidia.state == "none":
        return
    lines = dict(line.partition(" ")[::2] for line in case.root.lines("nvidia_versions"))
    state, card = facts.nvidia.state, "an NVIDIA GPU"
    needed = "a driver that answers: until then the plan uses the CPU"
    hindrance = gates.driver_hindrance(facts, case.catalog, case.overrides) if case.catalog is not None else ""
    if facts.passed_through and not facts.nvidia.gpus:
        given = f"{', '.join(facts.passed_through)} given to a virtual machine"
        fix = "nothing, if that is meant; else take the GPU out of the guest and its vfio-pci, and boot the host again"
        yield case.note("driver", given, "a GPU of the host's own: until then the plan uses the CPU", fix)
    elif state == "no_driver":
        found, fix = _no_driver(facts.nvidia.nouveau, hindrance)
        yield case.warning("driver", f"{card} {found}", needed, fix)
    elif state == "mismatch":
        both = f" (module {lines.get('kernel') or 'unknown'}, library {lines.get('library') or 'unknown'})"
        found = f"kernel module and library of the driver differ{both if lines else ''}"
        yield case.warning("driver", found, "one version", "sudo systemctl reboot, which loads the installed module")
    elif state in ("no_devices", "unreadable"):
        found = f"{card} whose driver does not answer ({facts.nvidia.detail or state})"
        fix = "see why: sudo dmesg | grep -iE 'nvrm|xid'; a GPU that fell off the bus comes back after a power cycle"
        yield case.warning("driver", found, needed, fix)
    elif state == "unusable":
        for gpu in facts.nvidia.unusable:
            found, _, fix = gates.unusable(gpu).partition("; ")
            yield case.warning("driver", found, needed, fix)
    elif facts.nvidia.nouveau:
        fix = (
            "printf 'blacklist nouveau\\n' | sudo tee /etc/modprobe.d/no-nouveau.conf; sudo update-initramfs -u; reboot"
        )
        yield case.warning("driver", "nouveau is loaded beside NVIDIA's driver", "one of them", fix)
    yield from _specification(case)


def _no_driver(nouveau: bool, hindrance: str) -> tuple[str, str]:
    """Return what a GPU without NVIDIA's driver is, and what helps. `hindrance`: why its installation would not."""
    if hindrance:
        return "without a driver", f"nothing that phi4-edge installs opens the GPU here: {hindrance}"
    if nouveau:
        return "held by nouveau, which cannot compute", (
            "set nvidia_runtime_driver_install=true and run provision --allow-reboot; by hand: printf 'blacklist "
            "nouveau\\n' | sudo tee /etc/modprobe.d/no-nouveau.conf, sudo update-initramfs -u, reboot"
        )
    return (
        "without a driver",
        "set nvidia_runtime_driver_install=true and run: phi4-edge provision INVENTORY --allow-reboot",
    )


def _specification(case: Case) -> Iterator[Finding]:
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


def secure_boot(case: Case) -> Iterator[Finding]:
    """Whether the firmware would refuse the driver that is to be installed."""
    facts = case.facts
    if facts is None or not facts.secure_boot or facts.nvidia.state in ("none", "usable") or facts.passed_through:
        return
    if gates.driver_asked(facts, case.overrides):
        if case.catalog is not None and gates.driver_hindrance(facts, case.catalog, case.overrides):
            return  # said by the check of the driver: Secure Boot is not what is in the way
        if refusal := packages_nvidia.refusal(facts, gates.DRIVER_BRANCH):
            before, _, needed = refusal.removeprefix("found ").partition(", needed ")
            yield case.problem("secure boot", before, needed, _ENROL)
            return
    yield case.warning(
        "secure boot", "Secure Boot is on, and the GPU has no working driver",
        "a module signed with a key that the firmware trusts", _ENROL,
    )  # fmt: skip


_ENROL = (
    "mokutil --sb-state; sudo mokutil --import /var/lib/dkms/mok.pub, reboot and enrol it; or switch Secure Boot off"
)


def floors(case: Case) -> Iterator[Finding]:
    """Components on the host below the versions that no known flaw forbids, also those that the plan does not use."""
    if case.facts is None or case.catalog is None:
        return
    there = {"docker": case.facts.docker, "runc": case.facts.runc, "nvidia-container-toolkit": case.facts.toolkit}
    for name, text in there.items():
        floor, version = case.catalog.floors.get(name), version_of(text)
        if floor is None or not version or version >= (minimum := floor.for_version(version)):
            continue
        found, needed = f"{name} {dotted(version)}: open to {floor.why}", f"{dotted(minimum)} or newer"
        fix = doctor_fix.upgrade(case.system, _PACKAGES[name], case.root.text("package_manager"))
        if name in case.overrides.accept_below_floor:
            yield case.note("known flaws", f"{found} (accepted in the inventory)", needed, fix)
            continue
        blocked = case.plan is not None and any(text.startswith(f"{name} ") for text in case.plan.blockers)
        fix += f"; or {VARIABLE}={name} if the distribution has fixed these in its own build"
        yield case.when(blocked, "known flaws", found, needed, fix)
