"""Commands that mend something, in the words of the host's distribution."""

from __future__ import annotations

from phi4_edge.core.facts import init
from phi4_edge.core.facts.init import SYSTEMD
from phi4_edge.core.facts.model import HostFacts, OperatingSystem

# Package manager of a distribution, by ID or ID_LIKE of os-release.
MANAGERS = {
    "debian": "apt-get", "ubuntu": "apt-get", "raspbian": "apt-get", "fedora": "dnf", "rhel": "dnf", "centos": "dnf",
    "rocky": "dnf", "almalinux": "dnf", "amzn": "dnf", "alpine": "apk", "suse": "zypper", "opensuse": "zypper",
    "sles": "zypper", "arch": "pacman",
}  # fmt: skip
INSTALL = {
    "apt-get": "sudo apt-get update && sudo apt-get install -y {}",
    "dnf": "sudo dnf install -y {}",
    "apk": "sudo apk add {}",
    "zypper": "sudo zypper --non-interactive install {}",
    "pacman": "sudo pacman -S --noconfirm {}",
}
UPGRADE = {
    "apt-get": "sudo apt-get update && sudo apt-get install -y --only-upgrade {}",
    "dnf": "sudo dnf upgrade -y {}",
    "apk": "sudo apk upgrade {}",
    "zypper": "sudo zypper --non-interactive update {}",
    "pacman": "sudo pacman -Syu --noconfirm {}",
}
# What empties the cache of downloaded packages.
CLEAN = {
    "apt-get": "sudo apt-get clean",
    "dnf": "sudo dnf clean packages",
    "apk": "sudo apk cache clean",
    "zypper": "sudo zypper clean",
    "pacman": "sudo pacman -Sc --noconfirm",
}
# Names that differ from Debian's, by package manager.
NAMES = {
    "sudo": {}, "python3": {"pacman": "python"},
    "clock": {"apt-get": "systemd-timesyncd", "dnf": "chrony", "apk": "chrony", "zypper": "chrony", "pacman": "chrony"},
    "zram": {"apt-get": "zram-tools", "dnf": "zram-generator-defaults", "apk": "zram-init",
             "zypper": "zram-generator", "pacman": "zram-generator"},
}  # fmt: skip
_DEFAULT_CLEAN = "empty the cache of the package manager"


def see(host: str) -> str:
    """Return how to look at what a host sends."""
    return f"see what it sends: phi4-edge detect INVENTORY --raw --limit {host}"


def manager(system: OperatingSystem, there: str = "") -> str:
    """Return the package manager of a host: what was found `there` first, else that of its distribution, else ""."""
    found = [word for word in there.split() if word in INSTALL]
    named = [MANAGERS[name] for name in (system.id, *system.like) if name in MANAGERS]
    return next(iter([*(name for name in named if name in found), *found, *named]), "")


def install(system: OperatingSystem, package: str, there: str = "") -> str:
    """Return the command that installs `package` (a name of Debian, or a key of `NAMES`)."""
    tool = manager(system, there)
    if not tool:
        return f"install {package} with the package manager of the host"
    return INSTALL[tool].format(NAMES.get(package, {}).get(tool, package))


def upgrade(system: OperatingSystem, packages: str, there: str = "") -> str:
    """Return the command that brings installed packages up to date."""
    tool = manager(system, there)
    return UPGRADE[tool].format(packages) if tool else f"update {packages} with the package manager of the host"


def clear_cache(system: OperatingSystem, there: str = "") -> str:
    """Return the command that frees what the package manager has downloaded."""
    return CLEAN.get(manager(system, there), _DEFAULT_CLEAN)


# What starts a service now and at boot, by the init system.
_START = {
    SYSTEMD: "sudo systemctl enable --now {0}",
    "OpenRC": "sudo rc-update add {0} default && sudo rc-service {0} start",
    "SysV init": "sudo update-rc.d {0} defaults && sudo service {0} start",
    "runit": "sudo ln -s /etc/sv/{0} /var/service/",
    "dinit": "sudo dinitctl enable {0}",
}


def start(unit: str, facts: HostFacts | None) -> str:
    """Return the command that starts a service now and at boot; without facts that of systemd."""
    system = SYSTEMD if facts is None or facts.init == SYSTEMD else init.name(facts)
    return _START[system].format(unit) if system in _START else f"start {unit} as this host starts its services"
