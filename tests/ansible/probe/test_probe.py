"""The probe as a script on this machine: every source answers or is a gap, whatever the machine is like."""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path

import pytest

from tests.ansible.docker_machine import OTHER, OWNER, a_machine
from tests.ansible.probe_run import place, probe


def fake_tool(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!{sys.executable}\n{body}\n")
    (folder / name).chmod(0o755)


def test_this_machine_answers_and_every_source_is_text_or_gap() -> None:
    sources = probe()
    assert "MemTotal" in sources["meminfo"]["text"]
    assert sources["uname"]["text"].split() == [os.uname().sysname, os.uname().release, os.uname().machine]
    elf = {"x86_64": ["62"], "aarch64": ["183"]}
    assert sources["userland"]["text"].split() == [str(8 * struct.calcsize("P")), *elf.get(os.uname().machine, [])]
    assert sources["uid"]["text"] == str(os.geteuid())
    images = [line.split(" ", 1)[1] for line in sources["image_roots"]["text"].split("\n")]
    measured = list(dict.fromkeys(["/opt/phi4-edge", "/var/lib/phi4-edge", *images, "/etc"]))
    for name, most in {"disk": 3, "disk_pool": 1}.items():
        assert [line.rsplit(None, most)[0] for line in sources[name]["text"].split("\n")] == measured
    for name, source in sources.items():
        assert ("text" in source) != ("gap" in source), name
        assert source.get("gap", "missing") in {"missing", "timeout", "failed", "nonsense", "denied"}, name


def test_an_empty_machine_is_all_gaps_and_still_an_answer(tmp_path: Path) -> None:
    sources = probe(tmp_path, path=str(tmp_path))
    assert sources["meminfo"]["gap"] == "missing"
    assert sources["pci"]["gap"] == "missing"
    assert sources["secure_boot"]["gap"] == "missing"
    assert json.loads(sources["receipt"]["text"]) == {"present": False}


HOSTILE = {
    "hangs": ("import time; time.sleep(600)", "timeout"),
    "hangs with children": ("import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)", "timeout"),
    "prints 100 MB": ("import sys\nfor _ in range(100): sys.stdout.write('x' * 1048576)", "nonsense"),
    "prints 100 MB of errors": ("import sys\nfor _ in range(100): sys.stderr.write('x' * 1048576)", "nonsense"),
    "fails": ("raise SystemExit('NVIDIA-SMI has failed')", "failed"),
    "says nothing": ("", "failed"),
    "is denied": ("raise SystemExit('permission denied while trying to connect')", "denied"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tool_that_misbehaves_is_a_gap(tmp_path: Path, name: str) -> None:
    body, gap = HOSTILE[name]
    fake_tool(tmp_path / "bin", "nvidia-smi", body)
    source = probe(path=f"{tmp_path / 'bin'}:/usr/bin:/bin")["nvidia_smi"]
    assert source["gap"] == gap
    assert len(source["detail"]) <= 300


def test_nothing_of_a_hanging_tool_is_left(tmp_path: Path) -> None:
    fake_tool(tmp_path / "bin", "nvidia-smi", "import subprocess; subprocess.run(['sleep', '4321.125'])")
    assert probe(path=f"{tmp_path / 'bin'}:/usr/bin:/bin")["nvidia_smi"]["gap"] == "timeout"
    running = [entry / "cmdline" for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    assert not [path for path in running if path.exists() and b"4321.125" in path.read_bytes()]


def test_a_port_that_docker_holds_for_no_container_is_told() -> None:
    with a_machine() as machine:
        machine.orphan()
        machine.containers(OTHER)
        assert probe(machine.root)["orphaned_ports"] == {"text": "127.0.0.1 8080"}
        machine.containers(OTHER, OWNER)
        assert probe(machine.root)["orphaned_ports"] == {"text": ""}
        machine.server.answers["/containers/json"] = "{"
        assert probe(machine.root)["orphaned_ports"]["gap"] == "failed"
        (machine.root / "run/docker.sock").unlink()
        assert probe(machine.root)["orphaned_ports"]["gap"] == "missing"


def test_a_host_is_looked_at_where_it_is_said_to_be(tmp_path: Path) -> None:
    """Disks, what is ours, receipt, lock and journal; one directory may lie in the other, and counts for itself."""
    there = {"root": "/data/phi4", "state": "/data/phi4/state"}
    place(tmp_path, "/data/phi4/engines/e/python", b"x" * 8192)
    place(tmp_path, "/data/phi4/state/models/d/model", b"x" * 40960)
    receipt = {"release": "r-1", "files": [{"path": "/opt/phi4-edge/current", "sha256": "", "size": 1, "mode": "0644"}]}
    place(tmp_path, "/data/phi4/state/receipt.json", json.dumps(receipt))
    place(tmp_path, "/data/phi4/state/journal.json", '{"id": "a"}')
    unit = "ExecStart=/opt/phi4-edge/releases/r-111111111111/engine/bin/python\n"
    place(tmp_path, "/etc/systemd/system/phi4-edge.service", unit)
    found = probe(tmp_path, layout=there)
    assert [line.split()[0] for line in found["disk"]["text"].splitlines()][:2] == list(there.values())
    ours = dict(line.split()[:2] for line in found["our_disk"]["text"].splitlines())
    assert int(ours["/data/phi4"]) < int(ours["/data/phi4/state"])
    assert "/opt/phi4-edge/current" in json.loads(found["receipt"]["text"])["error"]
    assert json.loads(found["journal"]["text"]) == {"id": "a"}
    assert found["installed"] == {"text": "/opt/phi4-edge -"}
    standard = probe(tmp_path)
    assert json.loads(standard["receipt"]["text"]) == {"present": False}
    assert standard["journal"]["gap"] == "missing"
    (tmp_path / "etc/systemd/system/phi4-edge.service").unlink()
    assert probe(tmp_path)["installed"]["gap"] == "missing"


@pytest.mark.parametrize(("mode", "standing"), [(0o755, "ours"), (0o711, "ours"), (0o750, "closed"), (0o700, "closed")])
def test_a_directory_that_not_every_user_may_pass(tmp_path: Path, mode: int, standing: str) -> None:
    for name in ("data", "srv"):
        (tmp_path / name).mkdir(mode=0o755)
    (tmp_path / "data").chmod(mode)
    found = probe(tmp_path, layout={"root": "/srv/phi4", "state": "/data/not/there/yet"})
    lines = dict(line.rsplit(" ", 1) for line in found["our_disk"]["text"].splitlines())
    assert lines == {"/srv/phi4 0": "ours", "/data/not/there/yet 0": standing}


def test_container_tools_are_asked_one_by_one(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    docker = "import sys; print('28.5.2' if sys.argv[1] == 'version' else 'overlay2 [[driver-type x]]')"
    fake_tool(tools, "docker", docker)
    fake_tool(tools, "runc", "print('runc version 1.3.3\\ncommit: v1.3.3')")
    fake_tool(tools, "nvidia-ctk", "print('NVIDIA Container Toolkit CLI version 1.20.0\\ncommit: abc')")
    place(tmp_path / "root", "/etc/docker/daemon.json", "{}\n")
    sources = probe(tmp_path / "root", path=f"{tools}:/usr/bin:/bin")
    assert sources["runc"]["text"] == "runc version 1.3.3"
    assert sources["nvidia_ctk"]["text"] == "NVIDIA Container Toolkit CLI version 1.20.0"
    assert sources["docker_info"]["text"].strip() == "overlay2 [[driver-type x]]"
    assert sources["daemon_json"]["text"] == "3"


def test_what_answers_as_docker_is_asked_for_its_name(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    path = f"{tools}:/usr/bin:/bin"
    fake_tool(
        tools, "docker", "import sys; sys.exit('no such field') if len(sys.argv) > 2 else print('podman version 5.4.2')"
    )
    assert probe(tmp_path, path=path)["docker_program"] == {"text": "podman version 5.4.2"}
    fake_tool(
        tools, "docker", "import sys; print('Engine containerd ' if len(sys.argv) > 2 else 'Docker version 28.5.2')"
    )
    assert probe(tmp_path, path=path)["docker_program"]["text"].split("\n")[:2] == [
        "Docker version 28.5.2",
        "Engine containerd ",
    ]


def test_a_host_without_container_tools_has_gaps(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    sources = probe(tmp_path, path=str(tmp_path / "bin"))
    assert sources["daemon_json"]["gap"] == "missing"
    fake_tool(tmp_path / "bin", "runc", "raise SystemExit('no')")
    assert probe(tmp_path, path=f"{tmp_path / 'bin'}:/usr/bin:/bin")["runc"]["gap"] == "failed"


def test_odd_bytes_come_back_as_text(tmp_path: Path) -> None:
    fake_tool(tmp_path / "bin", "nvidia-smi", r"import sys; sys.stdout.buffer.write(b'\x1b[31m\xff\xfe[bold]\x00')")
    assert probe(path=f"{tmp_path / 'bin'}:/usr/bin:/bin")["nvidia_smi"]["text"] == "\x1b[31m??[bold]\x00"


def test_large_files_are_cut_and_say_so(tmp_path: Path) -> None:
    place(tmp_path, "/proc/cpuinfo", "flags: sse\n" * 100_000)
    place(tmp_path, "/proc/meminfo", b"\xff" * 100_000)
    place(tmp_path, "/etc/os-release", "\u20ac" * 20_000)
    sources = probe(tmp_path)
    assert (len(sources["cpuinfo"]["text"]), sources["cpuinfo"]["truncated"]) == (512 * 1024, True)
    assert (len(sources["meminfo"]["text"]), sources["meminfo"]["truncated"]) == (32 * 1024, True)
    assert sources["os_release"]["truncated"] is True


def test_a_pipe_where_a_file_should_be_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    os.mkfifo(tmp_path / "proc" / "meminfo")
    assert probe(tmp_path)["meminfo"]["gap"] == "nonsense"


def test_display_controllers_are_told_from_other_devices(tmp_path: Path) -> None:
    for slot, kind in {"0000:01:00.0": "0x030000", "0000:02:00.0": "0x020000", "0000:03:00.0": "0x030200"}.items():
        for name, value in {"vendor": "0x10de", "device": "0x2684", "class": kind}.items():
            place(tmp_path, f"/sys/bus/pci/devices/{slot}/{name}", value + "\n")
    assert probe(tmp_path)["pci"]["text"] == (
        "0000:01:00.0 0x10de 0x2684 0x030000\n0000:03:00.0 0x10de 0x2684 0x030200"
    )


def test_kinds_of_processors(tmp_path: Path) -> None:
    assert {probe(tmp_path)[name]["gap"] for name in ("cpu_capacity", "performance_cpus")} == {"missing"}
    for cpu, capacity in {0: 414, 4: 1024, 10: 1010}.items():
        place(tmp_path, f"/sys/devices/system/cpu/cpu{cpu}/cpu_capacity", f"{capacity}\n")
    place(tmp_path, "/sys/devices/cpu_core/cpus", "0-7\n")
    sources = probe(tmp_path)
    assert sources["cpu_capacity"] == {"text": "0 414\n4 1024\n10 1010"}
    assert sources["performance_cpus"] == {"text": "0-7"}


def test_the_driver_that_holds_each_display_controller_is_named(tmp_path: Path) -> None:
    top = tmp_path / "sys" / "bus" / "pci"
    for slot, driver in {"0000:01:00.0": "vfio-pci", "0000:02:00.0": "nvidia", "0000:03:00.0": ""}.items():
        for name, value in {"vendor": "0x10de", "device": "0x2684", "class": "0x030000"}.items():
            place(tmp_path, f"/sys/bus/pci/devices/{slot}/{name}", value + "\n")
        if driver:
            (top / "devices" / slot / "driver").symlink_to(f"../../drivers/{driver}")
    assert probe(tmp_path)["pci_drivers"]["text"] == "0000:01:00.0 vfio-pci\n0000:02:00.0 nvidia"


def test_device_tree_secure_boot_reboot_and_modules(tmp_path: Path) -> None:
    place(tmp_path, "/proc/device-tree/model", b"NVIDIA Jetson Orin Nano\0")
    place(tmp_path, "/proc/device-tree/compatible", b"nvidia,p3768\0nvidia,tegra234\0")
    efi = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    place(tmp_path, efi, b"\6\0\0\0\1")
    place(tmp_path, "/run/reboot-required", "")
    place(tmp_path, "/run/reboot-required.pkgs", "linux-image\n")
    place(tmp_path, "/proc/modules", "nouveau 1 0 - Live 0x0\next4 1 0 - Live 0x0\n")
    sources = probe(tmp_path)
    assert sources["device_tree_model"]["text"] == "NVIDIA Jetson Orin Nano"
    assert sources["device_tree_compatible"]["text"] == "nvidia,p3768\nnvidia,tegra234"
    assert sources["secure_boot"]["text"] == "enabled"
    assert sources["reboot_required"]["text"] == "yes\nlinux-image\n"
    assert sources["modules"]["text"] == "nouveau 1 0 - Live 0x0"


def test_listeners_of_both_families(tmp_path: Path) -> None:
    head = "  sl  local_address rem_address   st\n"
    place(tmp_path, "/proc/net/tcp", head + "   0: 0100007F:1F90 00000000:0000 0A\n   1: 0100007F:1F91 0:0 01\n")
    place(tmp_path, "/proc/net/tcp6", head + "   0: 00000000000000000000000001000000:0016 0:0 0A\n")
    assert probe(tmp_path)["listening"]["text"] == "127.0.0.1 8080\n::1 22"


def test_what_is_not_ours_is_named_and_not_counted(tmp_path: Path) -> None:
    place(tmp_path, "/home/somebody/film", b"x" * 100_000)
    place(tmp_path, "/opt/phi4-edge/current", b"x" * 9000)
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/phi4-edge").symlink_to(tmp_path / "home/somebody")
    lines = [line.split() for line in probe(tmp_path)["our_disk"]["text"].splitlines()]
    assert (lines[0][2], int(lines[0][1]) >= 9000) == ("ours", True)
    assert lines[1][1:] == ["0", "link"]
