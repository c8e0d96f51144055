"""The checks of section 5 (containers at run time) of the CIS Docker Benchmark, over what `docker inspect` says.

Numbered as in docker-bench-security 1.6. Not here, because no running container can show them: 5.23 and 5.24 (how
people use `docker exec`) and 5.28 (to use the newest version of an image always: ours are pinned on purpose).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Container = Mapping[str, Any]
Info = Mapping[str, Any]
SENSITIVE = ("/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr")
SERVICE = "phi4-edge.service"
# What is found and stays, with the reason: at most two. The key is the check and the value of our label SERVICE.
NOT_APPLICABLE = {
    (
        "5.10",
        "webui",
    ): "the engine listens on the host's loopback, which a container with its own network cannot reach; "
    "the page itself listens on its planned address alone",
}


@dataclass(frozen=True)
class Finding:
    """One check that one container fails."""

    check: str
    container: str
    why: str


def findings(containers: Iterable[Container], info: Info, processes: Mapping[str, str] | None = None) -> list[Finding]:
    """What is wrong, without what is documented as not applicable.

    `containers` is the answer of `docker inspect`, `info` that of `docker info --format '{{json .}}'`, `processes` the
    text of `docker top` by container id.
    """
    found = []
    for container in containers:
        name = container["Name"].lstrip("/")
        service = (container["Config"].get("Labels") or {}).get(SERVICE, "")
        for check, looks in CHECKS.items():
            if (check, service) not in NOT_APPLICABLE:
                found += [Finding(check, name, why) for why in looks(container, info)]
        if "sshd" in (processes or {}).get(container["Id"], ""):
            found.append(Finding("5.7", name, "runs sshd"))
    return found


def _host(container: Container) -> dict[str, Any]:
    return dict(container["HostConfig"])


def _security(container: Container) -> list[str]:
    return list(_host(container).get("SecurityOpt") or [])


def _offers(info: Info, what: str) -> bool:
    return any(f"name={what}" in str(option) for option in info.get("SecurityOptions") or [])


def _swarm(_container: Container, info: Info) -> Iterator[str]:
    if (info.get("Swarm") or {}).get("LocalNodeState", "inactive") != "inactive":
        yield "swarm mode is active"


def _apparmor(container: Container, info: Info) -> Iterator[str]:
    if _offers(info, "apparmor") and container.get("AppArmorProfile") in (None, "", "unconfined"):
        yield "no AppArmor profile"


def _selinux(container: Container, info: Info) -> Iterator[str]:
    if _offers(info, "selinux") and not container.get("ProcessLabel"):
        yield "no SELinux label"


def _capabilities(container: Container, _info: Info) -> Iterator[str]:
    host = _host(container)
    if host.get("CapAdd"):
        yield f"adds {', '.join(host['CapAdd'])}"
    if "ALL" not in (host.get("CapDrop") or []):
        yield "keeps Docker's default capabilities"


def _mounts(container: Container, _info: Info) -> Iterator[str]:
    for mount in container.get("Mounts") or []:
        source = str(mount.get("Source") or "").rstrip("/") or "/"
        if mount.get("Type") == "bind" and mount.get("RW") and source in SENSITIVE:
            yield f"may write {source} of the host"


def _published(container: Container) -> Iterator[tuple[str, Mapping[str, str]]]:
    for inside, bindings in (container["NetworkSettings"].get("Ports") or {}).items():
        for binding in bindings or []:
            yield inside, binding


def _privileged_ports(container: Container, _info: Info) -> Iterator[str]:
    for _inside, binding in _published(container):
        if int(binding["HostPort"]) < 1024:
            yield f"publishes port {binding['HostPort']}"


def _open_ports(container: Container, _info: Info) -> Iterator[str]:
    if len({inside for inside, _ in _published(container)}) > 1:
        yield "publishes more than one port"


def _memory(container: Container, _info: Info) -> Iterator[str]:
    host = _host(container)
    if not host.get("Memory"):
        yield "no limit of memory"
    elif host.get("MemorySwap") != host["Memory"]:
        yield "may use swap beyond its limit of memory"


def _interface(container: Container, _info: Info) -> Iterator[str]:
    for _inside, binding in _published(container):
        if binding.get("HostIp") in ("", "0.0.0.0", "::"):
            yield f"publishes port {binding['HostPort']} on every address"


def _restart(container: Container, _info: Info) -> Iterator[str]:
    policy = _host(container).get("RestartPolicy") or {}
    if (policy.get("Name"), policy.get("MaximumRetryCount")) != ("on-failure", 5):
        yield f"restarts {policy.get('Name') or 'never'}, {policy.get('MaximumRetryCount')} times"


def _devices(container: Container, _info: Info) -> Iterator[str]:
    for device in _host(container).get("Devices") or []:
        yield f"has the device {device.get('PathOnHost')}"


def _ulimits(container: Container, _info: Info) -> Iterator[str]:
    for limit in _host(container).get("Ulimits") or []:
        if limit["Name"] != "core" or limit["Hard"] != 0:
            yield f"raises the limit {limit['Name']}"


def _propagation(container: Container, _info: Info) -> Iterator[str]:
    for mount in container.get("Mounts") or []:
        if "shared" in str(mount.get("Propagation")):
            yield f"{mount.get('Destination')} is mounted shared"


def _seccomp(container: Container, _info: Info) -> Iterator[str]:
    if any(option.replace(":", "=") == "seccomp=unconfined" for option in _security(container)):
        yield "seccomp is off"


def _privileges(container: Container, _info: Info) -> Iterator[str]:
    if not any(
        option.startswith("no-new-privileges") and not option.endswith("false") for option in _security(container)
    ):
        yield "may gain privileges"


def _health(container: Container, _info: Info) -> Iterator[str]:
    if not (container["State"].get("Health") or {}).get("Status"):
        yield "no health check"


def _docker_socket(container: Container, _info: Info) -> Iterator[str]:
    if any("docker.sock" in str(mount.get("Source")) for mount in container.get("Mounts") or []):
        yield "holds Docker's socket"


def _user(container: Container, _info: Info) -> Iterator[str]:
    if str(container["Config"].get("User") or "0").split(":")[0] in ("0", "root"):
        yield "runs as root"


def _set(field: str, why: str, *bad: object) -> Callable[[Container, Info], Iterator[str]]:
    """A check that a field of HostConfig has none of the `bad` values."""

    def looks(container: Container, _info: Info) -> Iterator[str]:
        if _host(container).get(field) in bad:
            yield why

    return looks


CHECKS: dict[str, Callable[[Container, Info], Iterator[str]]] = {
    # Section 4 asks for it of images; the container decides.
    "4.1": _user,
    "5.1": _swarm,
    "5.2": _apparmor,
    "5.3": _selinux,
    "5.4": _capabilities,
    "5.5": _set("Privileged", "is privileged", True),
    "5.6": _mounts,
    "5.8": _privileged_ports,
    "5.9": _open_ports,
    "5.10": _set("NetworkMode", "shares the host's network", "host"),
    "5.11": _memory,
    "5.12": lambda container, _info: iter(
        [] if _host(container).get("CpuShares") or _host(container).get("NanoCpus") else ["no limit of CPU"]
    ),
    "5.13": _set("ReadonlyRootfs", "may write its root file system", False, None),
    "5.14": _interface,
    "5.15": _restart,
    "5.16": _set("PidMode", "shares the host's processes", "host"),
    "5.17": _set("IpcMode", "shares the host's IPC", "host"),
    "5.18": _devices,
    "5.19": _ulimits,
    "5.20": _propagation,
    "5.21": _set("UTSMode", "shares the host's name", "host"),
    "5.22": _seccomp,
    "5.25": lambda container, _info: iter(["a cgroup of its own"] if _host(container).get("CgroupParent") else []),
    "5.26": _privileges,
    "5.27": _health,
    "5.29": _set("PidsLimit", "no limit of processes", None, 0, -1),
    "5.30": _set("NetworkMode", "is in Docker's default network", "default", "bridge", ""),
    "5.31": _set("UsernsMode", "shares the host's users", "host"),
    "5.32": _docker_socket,
}
