"""Parsing of raw documents: what is read, what becomes a gap, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse as facts_parse
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.facts.sources import MOST_TEXT
from phi4_edge.core.text import LARGEST, clean, closest, integer, version_of
from phi4_edge.errors import FactsError

Make = Callable[..., dict[str, Any]]


def parse(document: Make, name: str = "n150-8gb", **sources: Any) -> HostFacts:
    return facts_parse.parse(document(name, **sources))


def gap(found: HostFacts, source: str) -> str:
    return next((item.kind for item in found.gaps if item.source == source), "")


def test_a_whole_host(document: Make) -> None:
    found = parse(document)
    assert (found.host, found.architecture, found.os.id, found.os.version_id) == ("n150-8gb", "x86_64", "debian", "13")
    assert (found.cpu.model, found.cpu.processors, found.cpu.cores, found.cpu.quota) == ("Intel(R) N150", 4, 4, None)
    assert found.cpu.features == {"avx2", "avx_vnni"}
    assert found.ram_bytes == found.mem_total == 7968768 * 1024
    assert (found.libc.family, found.libc.version, found.python.version) == ("glibc", "2.41", "3.13.5")
    assert (found.init, found.systemd, found.docker, found.uid) == ("systemd", "257", "", 0)
    assert found.disk("/var/lib/docker").free == 57204711424
    assert found.listening == (("0.0.0.0", 22), ("127.0.0.53", 53), ("::", 22))
    assert found.service is not None and not found.service.up
    assert found.secure_boot is False and found.reboot_required is False
    assert json.loads(json.dumps(found.to_dict()))["cpu"]["features"] == ["avx2", "avx_vnni"]


def test_what_docker_is_like(document: Make) -> None:
    found = parse(
        document,
        runc="runc version 1.1.5+ds1\ncommit: 1.1.5",
        nvidia_ctk="NVIDIA Container Toolkit CLI version 1.17.8",
        docker_info="overlayfs [[driver-type io.containerd.snapshotter.v1]]\n",
        daemon_json="120",
    )
    assert (found.runc, found.toolkit, found.docker_storage) == ("1.1.5", "1.17.8", "overlayfs")
    assert found.containerd_store and found.docker_configured
    none = parse(document)
    assert (none.runc, none.toolkit, none.docker_storage) == ("", "", "")
    assert not none.containerd_store and not none.docker_configured
    assert gap(none, "runc") == "missing" == gap(none, "docker_info")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('"x"', "needed a facts document"),
        ("{}", "Found format none"),
        ('{"format": "phi4-edge/facts/9"}', "phi4-edge/facts/9"),
        ('{"format": "phi4-edge/facts/1", "sources": []}', "no sources"),
        ('{"format": "phi4-edge/facts/1", "sources": {}}', "MemTotal, architecture, disk"),
        ("1" * 5000, "not JSON"),
    ],
)
def test_no_facts_document(text: str, named: str) -> None:
    with pytest.raises(FactsError, match=named):
        facts_parse.loads(text)


@pytest.mark.parametrize(
    ("source", "text", "lacking"),
    [
        ("meminfo", "MemTotal: many kB", "MemTotal"),
        ("meminfo", "MemTotal: 0 kB", "MemTotal"),
        ("meminfo", f"MemTotal: {LARGEST} kB", "MemTotal"),
        ("uname", "Linux", "architecture"),
        ("uname", "Linux 6 x86_64;rm", "architecture"),
        ("disk", "/opt/phi4-edge 1 2 3", "disk"),
        ("disk", None, "disk"),
    ],
)
def test_missing_essentials_are_named(document: Make, source: str, text: str | None, lacking: str) -> None:
    with pytest.raises(FactsError, match=rf"Found no {lacking} in the facts of n150-8gb .*detect"):
        parse(document, **{source: text})


def test_loads_gives_what_parse_gives(document: Make) -> None:
    found = document("n150-8gb")
    assert facts_parse.loads(json.dumps(found)) == facts_parse.parse(found)


@pytest.mark.parametrize("kind", ["missing", "timeout", "failed", "nonsense", "denied"])
def test_a_gap_of_the_probe_is_kept(document: Make, kind: str) -> None:
    found = parse(document, docker={"gap": kind, "detail": "why\x1b[31m"})
    assert gap(found, "docker") == kind
    assert next(item.detail for item in found.gaps if item.source == "docker") == "why[31m"


def test_entries_of_a_wrong_shape_are_gaps(document: Make) -> None:
    found = parse(document, docker={"text": 3}, compose={"gap": "own kind"}, boot_id=["x"] and {"text": None})
    assert {gap(found, name) for name in ("docker", "compose", "boot_id")} == {"nonsense"}


def test_text_is_bounded_and_said_to_be_cut(document: Make) -> None:
    found = parse(document, hostname="h" * (MOST_TEXT + 1), uid={"text": "0", "truncated": True})
    assert found.truncated == ("hostname", "uid")
    assert len(found.hostname) == 253


def test_hyperthreads_count_once_and_the_cpuset_limits(document: Make) -> None:
    name = "xeon-rtx3060-driver570"
    assert (parse(document, name).cpu.processors, parse(document, name).cpu.cores) == (12, 6)
    assert parse(document, name, cpu_affinity="0,6").cpu.cores == 1
    # Without sysfs the ids in cpuinfo tell the same.
    assert parse(document, name, cpu_topology=None).cpu.cores == 6
    assert parse(document, name, cpu_topology=None, cpu_affinity="0-2,6-8").cpu.cores == 3


def test_a_host_without_cpu_facts_has_one_core(document: Make) -> None:
    found = parse(document, cpuinfo=None, cpu_affinity=None, cpu_topology=None)
    assert (found.cpu.processors, found.cpu.usable_cores, found.cpu.features) == (1, 1, frozenset())


def test_ids_before_any_processor_belong_to_none(document: Make) -> None:
    text = "physical id : 0\ncore id : 1\nprocessor : 0\nprocessor : 1"
    assert parse(document, cpuinfo=text, cpu_topology=None, cpu_affinity="0-1").cpu.cores == 2


@pytest.mark.parametrize("text", ["x", "3-1", "0-99999999999", "1,,2", "-1", "1-", "٣"])
def test_a_broken_cpu_list_is_a_gap(document: Make, text: str) -> None:
    found = parse(document, cpu_affinity=text)
    assert gap(found, "cpu_affinity") == "nonsense"
    assert found.cpu.processors == 4


def test_arm_features_and_core_names(document: Make) -> None:
    found = parse(document, "jetson-orin-nano-8gb")
    assert found.cpu.features == {"neon", "dotprod"}
    assert (found.cpu.model, found.cpu.cores) == ("Cortex-A78AE", 6)
    i8mm = parse(document, "pi4-4gb", cpuinfo="processor: 0\nFeatures : asimd asimddp i8mm bf16\nCPU part: 0xfff")
    assert i8mm.cpu.features == {"neon", "dotprod", "i8mm", "bf16"}
    assert i8mm.cpu.model == ""


@pytest.mark.parametrize(
    ("lines", "ram", "quota"),
    [
        ("v2\nmemory /a max\nmemory / max\ncpu /a max 100000", 24570100 * 1024, None),
        ("v2\nmemory /a 6442450944\nmemory / 8589934592\ncpu /a 150000 100000\ncpu / 400000 100000", 6442450944, 1.5),
        ("v1\nmemory /a 9223372036854771712\ncpu /a -1 100000", 24570100 * 1024, None),
        ("hybrid\nmemory /a/b 1073741824\ncpu /a 50000 100000", 1073741824, 0.5),
        ("v7\nmemory /a 0", 24570100 * 1024, None),
        ("", 24570100 * 1024, None),
        ("v2\nmemory\ncpu x\nother 1 2", 24570100 * 1024, None),
    ],
)
def test_cgroup_limits(document: Make, lines: str, ram: int, quota: float | None) -> None:
    found = parse(document, "container-6gb-of-24gb", cgroup=lines)
    assert (found.ram_bytes, found.cpu.quota) == (ram, quota)
    assert found.cpu.usable_cores == (1 if quota else 2)


def test_disks_on_different_filesystems(document: Make) -> None:
    lines = "/opt/phi4-edge 100 50 1\n/var/lib/phi4-edge 200 150 2\n/var/lib/phi4-edge 9 9 9\n/etc 100 50 1"
    found = parse(document, disk=lines, our_disk="/opt/phi4-edge 7\n/var/lib/phi4-edge 8\nx")
    assert [(disk.path, disk.free, disk.filesystem, disk.ours) for disk in found.disks] == [
        ("/opt/phi4-edge", 50, "1", 7),
        ("/var/lib/phi4-edge", 150, "2", 8),
        ("/etc", 50, "1", 0),
    ]
    assert found.disk("/var/lib/docker").filesystem == "2"
    assert parse(document, disk="/opt/phi4-edge 100 50 1").disk("/var/lib/phi4-edge").filesystem == "1"


@pytest.mark.parametrize(
    ("said", "modules", "pci", "state"),
    [
        ("No devices were found", "nvidia 1 0", True, "no_devices"),
        ("Failed to initialize NVML: Driver/library version mismatch", "nvidia 1 0", True, "mismatch"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver", "", True, "no_driver"),
        ("", "nouveau 1 0", True, "no_driver"),
        ("garbage", "nvidia 1 0", True, "unreadable"),
        ("garbage", "", False, "none"),
        ("0, RTX, [N/A], [N/A], 580, 8.6, GPU-1", "nvidia 1 0", True, "unusable"),
        ("0, RTX, none, none, 580, 8.6, GPU-1", "nvidia 1 0", True, "unreadable"),
        ("0, RTX 3060, 12288, 99999, 580.1, 8.6, GPU-1", "nvidia 1 0", True, "usable"),
    ],
)
def test_states_of_nvidia(document: Make, said: str, modules: str, pci: bool, state: str) -> None:
    bus = "0000:00:02.0 0x8086 0x46d4 0x030000" + ("\n0000:01:00.0 0x10de 0x2504 0x030000" if pci else "")
    found = parse(document, nvidia_smi=said, modules=modules, pci=bus)
    assert found.nvidia.state == state
    assert found.nvidia.nouveau == ("nouveau" in modules)
    for gpu in found.nvidia.gpus:
        assert gpu.memory_used == gpu.memory_total == 12288 << 20


def test_what_nvidia_smi_said_when_it_failed_is_in_the_detail(document: Make) -> None:
    found = parse(document, "nvidia-mismatch")
    assert (found.nvidia.state, found.reboot_required) == ("mismatch", True)
    assert "NVML library version: 580.95" in found.nvidia.detail


def test_only_display_controllers_count_of_every_vendor(document: Make) -> None:
    bus = "0000:01:00.1 0x10de 0x228e 0x040300\n0000:03:00.0 0x1002 0x744c 0x030000\n0000:04:00.0 10de 1eb8 030200\nx"
    found = parse(document, pci=bus)
    assert [(item.vendor, item.device) for item in found.displays] == [("1002", "744c"), ("10de", "1eb8")]


def test_jetson_memory_is_the_hosts_memory(document: Make) -> None:
    for name, release in (("jetson-orin-nano-8gb", "36.4.3"), ("jetson-orin-jetpack5", "35.6.0")):
        found = parse(document, name)
        assert found.jetson is not None
        assert (found.jetson.soc, found.jetson.l4t) == ("tegra234", release)
        (gpu,) = found.nvidia.gpus
        assert (gpu.unified, gpu.memory_total, gpu.compute_capability) == (True, found.ram_bytes, (8, 7))


def test_jetson_of_an_unknown_chip_has_no_gpu_for_us(document: Make) -> None:
    found = parse(document, "jetson-orin-jetpack5", device_tree_compatible="nvidia,tegra999", device_tree_model=None)
    assert found.jetson is not None and found.jetson.model == "NVIDIA Jetson"
    assert found.nvidia.gpus == ()
    only_release = parse(document, "jetson-orin-jetpack5", device_tree_compatible=None)
    assert only_release.jetson is not None and only_release.jetson.soc == ""


def test_unified_memory_without_jetson(document: Make) -> None:
    found = parse(document, "pi4-4gb", nvidia_smi="0, NVIDIA GB10, [N/A], [N/A], 580.95.05, 12.1, GPU-9")
    assert found.nvidia.gpus[0].unified and found.nvidia.gpus[0].compute_capability == (12, 1)


@pytest.mark.parametrize(("text", "family"), [("musl 1.2.5", "musl"), ("bionic 1", ""), ("glibc", "glibc")])
def test_libc(document: Make, text: str, family: str) -> None:
    assert parse(document, libc=text).libc.family == family


def test_other_names_of_architectures(document: Make) -> None:
    assert parse(document, uname="Linux 6 arm64").architecture == "aarch64"
    assert parse(document, uname="Linux 6 amd64").architecture == "x86_64"


def test_a_host_without_python_or_service_facts(document: Make) -> None:
    found = parse(document, python="none", service=None, receipt=None, os_release="garbage")
    assert (found.python.version, found.service, found.receipt.present, found.os.id) == ("", None, False, "")
    assert parse(document, python="3.12").python.path == ""


def test_a_receipt_that_is_not_json_is_an_error_not_a_crash(document: Make) -> None:
    for text in ("{", "[" * 100_000, "3"):
        found = parse(document, receipt=text)
        assert found.receipt.present and found.receipt.error


def test_nothing_hostile_reaches_a_terminal() -> None:
    assert clean("\x1b[31m\u202ered\x00\ud800\n[bold]x[/bold]\u2028", 40) == "[31mred [bold]x[/bold]"
    assert clean("a" * 500) == "a" * 120
    assert clean(7) == clean(None) == ""


def test_numbers() -> None:
    assert integer(" 12 ") == 12
    assert [integer(text) for text in ("-1", "1e3", "٣", "9" * 30, "", None, str(LARGEST + 1))] == [None] * 7
    assert version_of("systemd 257 (257.7-1)") == (257,)
    assert version_of("x") == version_of(None) == ()
    assert closest("vlm", ["vllm", "onnx"]) == " (did you mean vllm?)"
    assert closest("zzz", ["vllm"]) == ""
