"""Faults of a lab host for `phi4-edge doctor`: how each is made and undone, and what names it."""

from __future__ import annotations

from dataclasses import dataclass

SMALL, DOCKER = "gw1", "gw2"
HOLD = "import fcntl,time; f=open('/var/lib/dpkg/lock-frontend','w'); fcntl.lockf(f,fcntl.LOCK_EX); time.sleep(600)"
UNIT = "[Unit]\\nDescription=A bot of the workshop\\n[Service]\\nExecStart=/bin/sleep 600\\n"
FIRST = "sed -i '1i {line}' /home/gateway/.bashrc"
LOCK = "/var/lib/phi4-edge"
# What is so from the start, and stays.
ALWAYS = "true"


@dataclass(frozen=True)
class Fault:
    """How a fault is made and undone by root on a host, and the finding that must name it."""

    make: str
    undo: str
    check: str
    level: str
    found: str
    fix: str
    host: str = SMALL
    variables: str = ""
    # Faults of one host and one turn are there at the same time: none of them hides another.
    turn: int = 1


IN_DOCKER = "phi4_engine=ollama phi4_service_manager=compose"
FAULTS = {
    "dpkg lock": Fault(
        f"systemd-run --unit=g-lock python3 -c \"{HOLD}\"; sleep 1", "systemctl stop g-lock",
        "dpkg", "warning", "/var/lib/dpkg/lock-frontend is held by process", "ps -fp",
    ),
    "dpkg lock, packages wanted": Fault(
        f"systemd-run --unit=g-lock python3 -c \"{HOLD}\"; sleep 1", "systemctl stop g-lock",
        "dpkg", "warning", "(/usr/bin/python3 -c import fcntl", "unattended-upgrades", variables=IN_DOCKER,
    ),
    "dpkg interrupted": Fault(
        "touch /var/lib/dpkg/updates/0001", "rm /var/lib/dpkg/updates/0001",
        "dpkg", "warning", "dpkg was interrupted", "sudo dpkg --configure -a", turn=2,
    ),
    "port taken": Fault(
        "systemd-run --unit=g-port python3 -m http.server 8080 --bind 127.0.0.1; sleep 1", "systemctl stop g-port",
        "port", "problem", "(/usr/bin/python3 -m http.server 8080", "phi4_port=8081", turn=2,
    ),
    "slow login shell": Fault(
        FIRST.format(line="sleep 0.17"), "sed -i 1d /home/gateway/.bashrc",
        "login shell", "warning", "/bin/bash adds ", "first line of /home/gateway/.bashrc: case $- in *i*)",
    ),
    "loud login shell": Fault(
        FIRST.format(line="echo Welcome to the plant"), "sed -i 1d /home/gateway/.bashrc",
        "login shell", "warning", "Welcome to the plant", "case $- in *i*)", turn=2,
    ),
    "slow sudo": Fault(
        "sed -i '1i session optional pam_exec.so /bin/sleep 1' /etc/pam.d/sudo", "sed -i 1d /etc/pam.d/sudo",
        "sudo", "warning", "sudo adds ", "time sudo -n true",
    ),
    "no name server": Fault(
        "cp /etc/resolv.conf /run/g-resolv; echo nameserver 192.0.2.1 > /etc/resolv.conf",
        "cat /run/g-resolv > /etc/resolv.conf; rm /run/g-resolv",
        "dns", "problem", "cannot be resolved", "/etc/resolv.conf", variables=IN_DOCKER,
    ),
    "foreign unit": Fault(
        f"printf '{UNIT}' > /etc/systemd/system/phi4-edge.service; systemctl daemon-reload",
        "rm /etc/systemd/system/phi4-edge.service; systemctl daemon-reload",
        "unit", "problem", "A bot of the workshop", "systemctl disable --now phi4-edge.service",
    ),
    "masked unit": Fault(
        "systemctl mask phi4-edge.service", "systemctl unmask phi4-edge.service",
        "unit", "problem", "masked", "sudo systemctl unmask phi4-edge.service", turn=2,
    ),
    "failed unit": Fault(
        "systemd-run --unit=g-bad false; sleep 1", "systemctl reset-failed",
        "systemd", "note", "g-bad.service", "journalctl -u g-bad.service",
    ),
    "read-only": Fault(
        f"mount -o remount,ro {LOCK}", f"mount -o remount,rw {LOCK}",
        "disk", "problem", "is mounted read-only", f"mount -o remount,rw {LOCK}",
    ),
    "no inodes": Fault(
        f"mount -o remount,nr_inodes=20 {LOCK}", f"mount -o remount,nr_inodes=900000 {LOCK}",
        "inodes", "problem", "more files can be created", f"du --inodes -x -d3 {LOCK}", turn=2,
    ),
    "noexec": Fault(
        "mkdir /opt/phi4-edge; mount -t tmpfs -o noexec none /opt/phi4-edge",
        "umount /opt/phi4-edge; rmdir /opt/phi4-edge",
        "disk", "problem", "mounted noexec", "remount,exec /opt/phi4-edge",
    ),
    "a link in our place": Fault(
        "ln -s /srv /opt/phi4-edge", "rm /opt/phi4-edge",
        "paths", "problem", "/opt/phi4-edge is a symbolic link", "sudo mv /opt/phi4-edge", turn=2,
    ),
    "reboot pending": Fault(
        "touch /run/reboot-required", "rm /run/reboot-required",
        "reboot", "warning", "needs a reboot", "sudo systemctl reboot",
    ),
    "a rule for terminals": Fault(
        "echo 'Defaults:bob requiretty' > /etc/sudoers.d/g-bob", "rm /etc/sudoers.d/g-bob",
        "sudo", "note", "/etc/sudoers.d/g-bob", "visudo -f /etc/sudoers.d/g-bob",
    ),
    "docker stopped": Fault(
        "systemctl stop docker.socket docker.service", "systemctl start docker",
        "docker", "warning", "docker.service is inactive", "sudo systemctl enable --now docker", host=DOCKER,
    ),
    "docker masked": Fault(
        "systemctl stop docker.socket docker.service; systemctl mask docker.service",
        "systemctl unmask docker.service; systemctl start docker",
        "docker", "problem", "is masked", "unmask docker.service", host=DOCKER, variables=IN_DOCKER,
    ),
    "docker with known flaws": Fault(
        ALWAYS, ALWAYS, "known flaws", "problem", "CVE-2025-31133", "phi4_accept_below_floor=docker", host=DOCKER,
        variables=IN_DOCKER, turn=2,
    ),
}  # fmt: skip
