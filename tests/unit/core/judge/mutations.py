"""Ways in which a host may not be as it should: sources of the probe, laid over those of a fixture."""

from __future__ import annotations

from typing import Any

PATHS = ("/opt/phi4-edge", "/var/lib/phi4-edge", "/var/lib/docker", "/etc")
Sources = dict[str, Any]
BUS = "0000:01:00.0 0x10de 0x{} 0x030000"
SMI = "0, NVIDIA GeForce RTX 3060, 12288, 0, {driver}, {capability}, GPU-1"
MISSING = {"gap": "missing", "detail": "not installed"}


def text(said: str) -> dict[str, str]:
    """A source that answers."""
    return {"text": said}


def mounted(kind: str, *paths: str) -> Sources:
    """File systems of a kind and with flags ("ext4 ro") below some of our paths."""
    kind, flags = kind.split()
    said = {path: f"{kind} /dev/sdb1 {flags}" if path in paths else "ext4 /dev/sda2 -" for path in PATHS}
    return {"filesystems": text("\n".join(f"{words} {path}" for path, words in said.items()))}


def inodes(free: int, path: str) -> Sources:
    """Where everything is one mount, as /, whose inodes are nearly used up below one path."""
    return {"mount_points": text("\n".join(f"1000000 {free if one == path else 900000} - {one}\t/" for one in PATHS))}


def docker_unit(load: str, active: str) -> Sources:
    """A Docker that is installed and does not answer."""
    names = ("phi4-edge.service", "phi4-edge.socket", "phi4-edge-load.service")
    ours = "\n\n".join(f"Id={name}\nLoadState=not-found\nActiveState=inactive" for name in names)
    return {
        "docker": {"gap": "failed", "detail": "Cannot connect to the Docker daemon"}, "compose": text("2.40.3"),
        "service": text(f"{ours}\n\nId=docker.service\nLoadState={load}\nActiveState={active}"),
    }  # fmt: skip


def standing(what: str) -> Sources:
    """Something else where our releases go."""
    return {"our_disk": text(f"/opt/phi4-edge 0 {what}\n/var/lib/phi4-edge 0 ours")}


MUTATIONS: dict[str, Sources] = {
    "nothing": {},
    "releases read-only": mounted("squashfs ro", PATHS[0]),
    "models read-only": mounted("ext4 ro", PATHS[1]),
    "images read-only": mounted("ext4 ro", PATHS[2]),
    "system read-only": mounted("ext4 ro", *PATHS),
    "dpkg read-only": {"mount_points": text("1000000 900000 ro /var/lib/dpkg\t/var")},
    "releases noexec": mounted("ext4 noexec", PATHS[0]),
    "images noexec": mounted("ext4 noexec", PATHS[2]),
    "link": standing("link"), "file": standing("file"), "another user": standing("user"),
    "tmpfs": mounted("tmpfs -", *PATHS), "overlay": mounted("overlay:tmpfs -", *PATHS),
    "full": {
        "disk": text("\n".join(f"{path} 100000000000 1000000000 1" for path in PATHS)),
        "our_disk": text("/opt/phi4-edge 0 ours\n/var/lib/phi4-edge 90000000000 ours"),
    },
    "no inodes": inodes(12, PATHS[1]), "few inodes": inodes(20_000, PATHS[1]),
    "ext4 errors": {"filesystem_errors": text("sda2 3")},
    "no memory controller": {"cgroup_controllers": text("cpuset cpu io pids")},
    "no cgroups": {"cgroup": {"gap": "missing", "detail": "/sys/fs/cgroup"}},
    "32 bits": {"userland": text("32 40")},
    "rescue": {"init": text("systemd maintenance")}, "slow systemd": {"init": text("systemd timeout")},
    "dead systemd": {"init": text("systemd timeout"), "service": {"gap": "timeout", "detail": "no answer in 5 s"}},
    "starting": {"init": text("systemd starting")}, "no systemd": {"init": text("init offline")},
    "old glibc": {"libc": text("glibc 2.17")}, "musl": {"libc": text("musl 1.2.5")},
    "old Python": {"python": text("3.8.10 /usr/bin/python3")},
    "dpkg interrupted": {"package_state": text("interrupted")},
    "half-installed": {"package_state": text("unfinished man-db libc-bin")},
    "docker masked": docker_unit("masked", "inactive"), "docker failed": docker_unit("loaded", "failed"),
    "docker stopped": docker_unit("loaded", "inactive"), "docker command only": docker_unit("not-found", "inactive"),
    "docker snap": {"docker_snap": text("yes")},
    "podman": {"docker_program": text("podman version 5.4.2"), "docker": text("5.4.2")},
    "old docker": {"docker": text("26.1.5"), "compose": text("2.26.1"), "runc": text("runc version 1.1.15")},
    "docker without CDI": {"docker": text("24.0.9"), "compose": text("2.26.1"), "runc": text("runc version 1.4.0")},
    "first docker with CDI": {"docker": text("25.0.0"), "compose": text("2.26.1"), "runc": text("runc version 1.4.0")},
    "old compose": {"docker": text("28.5.2"), "compose": text("1.29.2")},
    "unnumbered docker": {"docker": text("dev"), "compose": text("dev")},
    "docker hangs": {"docker": text("28.5.2"), "compose": text("2.40.3"), "docker_info": {"gap": "timeout"}},
    "vfs": {"docker": text("28.5.2"), "compose": text("2.40.3"), "docker_info": text("vfs []")},
    "another distribution": {"os_release": text('ID=fedora\nVERSION_ID=42\nPRETTY_NAME="Fedora Linux 42"')},
    "masked unit": {"service": text("LoadState=masked\nActiveState=inactive")},
    "foreign unit": {"service": text("LoadState=loaded\nActiveState=active\nDescription=A bot of the workshop")},
    "port taken": {"listening": text("0.0.0.0 8080\n127.0.0.1 3000")},
    "memory taken": {"meminfo": text("MemTotal: 16318544 kB\nMemAvailable: 900000 kB\nSwapTotal: 1000000 kB")},
    "reboot": {"reboot_required": text("yes\nlinux-image")},
    "no driver": {"pci": text(BUS.format("2504")), "nvidia_smi": MISSING, "modules": text("")},
    "nouveau": {"pci": text(BUS.format("2504")), "nvidia_smi": MISSING, "modules": text("nouveau 1")},
    "kepler": {"pci": text(BUS.format("102d")), "nvidia_smi": MISSING, "modules": text("")},
    "vfio": {
        "pci": text(BUS.format("2504")), "nvidia_smi": MISSING, "modules": text(""),
        "pci_drivers": text("0000:01:00.0 vfio-pci"),
    },
    "mismatch": {"pci": text(BUS.format("2504")), "modules": text("nvidia 1"), "nvidia_smi": {
        "gap": "failed", "detail": "Failed to initialize NVML: Driver/library version mismatch"}},
    "no devices": {"pci": text(BUS.format("2504")), "modules": text("nvidia 1"), "nvidia_smi": {
        "gap": "failed", "detail": "exit status 6: No devices were found"}},
    "old driver": {"nvidia_smi": text(SMI.format(driver="470.223.02", capability="8.6"))},
    "old GPU": {"nvidia_smi": text(SMI.format(driver="580.1", capability="3.5"))},
    "MIG": {
        "nvidia_smi": text(SMI.format(driver="580.1", capability="8.0")), "nvidia_modes": text("0, Enabled, Default")},
    "prohibited": {
        "nvidia_smi": text(SMI.format(driver="580.1", capability="8.0")), "nvidia_modes": text("0, [N/A], Prohibited")},
    "exclusive": {
        "nvidia_smi": text(SMI.format(driver="580.1", capability="8.6")),
        "nvidia_modes": text("0, [N/A], Exclusive_Process")},
    "nouveau beside": {
        "nvidia_smi": text(SMI.format(driver="580.1", capability="8.6")),
        "modules": text("nvidia 1\nnouveau 1")},
    "secure boot": {
        "secure_boot": text("enabled"), "pci": text(BUS.format("2504")), "nvidia_smi": MISSING, "modules": text(""),
        "uname": text("Linux 6.1.0-38-amd64 x86_64"),
        "os_release": text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"')},
}  # fmt: skip
