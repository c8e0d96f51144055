"""What starts a host's services where that is not systemd, and what helps: our service is one of systemd's units."""

from __future__ import annotations

from phi4_edge.core.facts.model import HostFacts

SYSTEMD = "systemd"
NEEDED = "systemd, for the service is one of its units, also under Compose"
# Init systems by the name of their process. Those that all call it `init` are told apart by the distribution.
_NAMES = {
    "openrc-init": "OpenRC", "runit": "runit", "runit-init": "runit", "s6-svscan": "s6", "s6-linux-init": "s6",
    "dinit": "dinit", "busybox": "BusyBox", "finit": "Finit", "shepherd": "Shepherd", "procd": "procd of OpenWrt",
}  # fmt: skip
_BY_SYSTEM = {
    "alpine": "OpenRC", "postmarketos": "OpenRC", "gentoo": "OpenRC", "devuan": "SysV init", "openwrt": "procd",
    "void": "runit", "slackware": "SysV init",
}  # fmt: skip
_UNKNOWN_INIT = "SysV init, OpenRC or BusyBox"


def name(facts: HostFacts) -> str:
    """The init system of a host that is none of systemd's; "" where PID 1 is no init system, or unknown."""
    if facts.init != "init":
        return _NAMES.get(facts.init, "")
    known = (_BY_SYSTEM[system] for system in (facts.os.id, *facts.os.like) if system in _BY_SYSTEM)
    return next(known, _UNKNOWN_INIT)


def first_process(facts: HostFacts) -> str:
    """What PID 1 is, in words."""
    found, known = facts.init, name(facts)
    if not found or found == SYSTEMD or _wsl(facts):
        return f"PID 1 is {found or 'unknown'}"
    if not known:
        return f"PID 1 is {found}, which is no init system"
    return f"PID 1 is {found}{'' if known.lower() == found else f' ({known})'}"


def hindrance(facts: HostFacts) -> str:
    """Why no service of ours can be installed: found, needed, next; "" where systemd is the first process."""
    if facts.init == SYSTEMD:
        return ""
    return f"found that {first_process(facts)}, needed {NEEDED}: {_step(facts)}"


def _step(facts: HostFacts) -> str:
    if _wsl(facts):
        return "put systemd=true below [boot] in its /etc/wsl.conf, then wsl --shutdown"
    if facts.init and not name(facts):
        return (
            "it looks like a container that was started without an init system: start it with systemd as its first "
            "program (/sbin/init), or use the machine that it runs on"
        )
    return "install a system with systemd there, or leave the host out with --limit"


def _wsl(facts: HostFacts) -> bool:
    return facts.init.startswith("init(") or (facts.init == "init" and "microsoft" in facts.kernel.lower())
