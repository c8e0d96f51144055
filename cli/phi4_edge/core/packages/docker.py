"""What it takes that a host has Docker and Compose: packages, repository, or the reason why not.

Takes what roles/docker/files/packages.py found on the host; installs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.catalog.read import read_floors
from phi4_edge.core.text import dotted, version_of
from phi4_edge.errors import AGAIN, PreflightError

# Code name by ID and VERSION_ID of os-release; both vendors' repositories were read for these.
SUITES = {
    ("debian", "12"): "bookworm",
    ("debian", "13"): "trixie",
    ("ubuntu", "22.04"): "jammy",
    ("ubuntu", "24.04"): "noble",
}
# dpkg's architectures that both vendors publish for.
ARCHITECTURES = ("amd64", "arm64")
# Packages that Docker's own ones replace. Taking them away ends what runs in them, so that is the operator's to do.
CONFLICTING = ("docker.io", "podman-docker", "containerd", "runc")
COMPOSE = {"bookworm": "", "trixie": "docker-compose", "jammy": "docker-compose-v2", "noble": "docker-compose-v2"}
LEFT_ALONE = "what is installed is left alone"
# Distributions whose own packages have no Compose 2, and that nothing is installed on: what they have, and what Docker
# calls their suite.
_OLD = {
    ("debian", "10"): ("docker.io 18.09 and docker-compose 1.21", "buster"),
    ("debian", "11"): ("docker.io 20.10 and docker-compose 1.25", "bullseye"),
    ("raspbian", "11"): ("docker.io 20.10 and docker-compose 1.25", "bullseye"),
    ("ubuntu", "20.04"): ("docker.io and docker-compose 1.25 (docker-compose-v2 in its updates)", "focal"),
}
_PLUGIN = (
    "take the program of Compose's own releases (docker-compose-linux-x86_64, or -aarch64), and there: sudo install -D "
    "-m 0755 FILE /usr/local/lib/docker/cli-plugins/docker-compose"
)


def below(floors: Mapping[str, Any], component: str, version: str, accepted: Collection[str] = ()) -> str:
    """Why `version` of `component` must not be used, or "" when it may be: new enough, accepted, or not listed.

    `floors` is data/cve_floors.yml. An unknown version is no evidence and gives "".
    """
    floor, found = read_floors(floors).get(component), version_of(version)
    if floor is None or not found or component in accepted or found >= (minimum := floor.for_version(found)):
        return ""
    return (
        f"found {component} {version}, needed {dotted(minimum)} or newer: {floor.why}. Install a newer one, or set "
        f"phi4_accept_below_floor={component} if the distribution has fixed these in its own build"
    )


def by_hand(system: str, version: str, engine: str) -> str:
    """What an operator does for Docker with Compose 2 on a system that nothing is installed on.

    `system` and `version` are ID and VERSION_ID of os-release; `engine` is the version of Docker there, "" for none.
    """
    has, suite = _OLD.get((system, version), ("", ""))
    own = f"its own packages do not do ({has}): " if has else ""
    if engine:
        return f"{own}{_PLUGIN}"
    if not suite:
        return "install Docker and Compose 2 there yourself"
    return (
        f"{own}add Docker's own repository (suite {suite}) there, then sudo apt-get install docker-ce docker-ce-cli "
        "containerd.io docker-compose-plugin"
    )


def accepted(text: object) -> tuple[str, ...]:
    """The component names in the variable phi4_accept_below_floor: a comma list, or a list."""
    words = text if isinstance(text, list | tuple) else str(text or "").split(",")
    return tuple(str(word).strip().lower() for word in words if str(word).strip())


@dataclass(frozen=True, slots=True)
class Pins:
    """Upstream versions of Docker's own packages."""

    docker: str
    containerd: str
    compose: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Packages to install with the upstream version wanted ("": what the host's sources offer); none: nothing to do."""

    packages: dict[str, str]
    reason: str


def decide(
    found: Mapping[str, Any],
    source: str,
    pins: Pins,
    floors: Mapping[str, Any],
    accepted: Collection[str] = (),
) -> Decision:
    """What to install on the host. Raises PreflightError that says found, needed, and what to do."""
    if found["dpkg"]:
        raise PreflightError(
            f"found an interrupted installation ({found['dpkg']}), needed none: run `dpkg --configure -a` there"
        )
    if found["snap"]:
        raise PreflightError("found Docker from a snap, needed one from packages: run `snap remove docker`")
    if found["engine"]:
        return _beside(found, source, pins, floors, accepted)
    suite = _suite(found)
    if source == "distribution":
        if not COMPOSE[suite]:
            raise PreflightError(
                f"{_system(found)} has Compose 1 only, needed Compose 2: set phi4_docker_source=docker"
            )
        # Debian 13 split the client off; both suites of Ubuntu and Debian 12 have it in docker.io.
        client = {"docker-cli": ""} if suite == "trixie" else {}
        return Decision({"docker.io": "", COMPOSE[suite]: "", "iptables": "", **client}, "no Docker was found")
    others = [name for name in CONFLICTING if name in found["packages"]]
    if others:
        raise PreflightError(
            f"found {', '.join(others)}, which Docker's own packages replace: run `apt-get remove {' '.join(others)}` "
            "there when nothing needs them, or set phi4_docker_source=distribution"
        )
    problem = below(floors, "docker", pins.docker, accepted)
    if problem:
        raise PreflightError(f"phi4_docker_version: {problem}")
    wanted = {"docker-ce": pins.docker, "docker-ce-cli": pins.docker, "containerd.io": pins.containerd}
    return Decision({**wanted, "docker-compose-plugin": pins.compose}, "no Docker was found")


def _beside(
    found: Mapping[str, Any], source: str, pins: Pins, floors: Mapping[str, Any], accepted: Collection[str]
) -> Decision:
    """Docker is there: it stays, and only a missing Compose is added."""
    for component, version in (("docker", found["engine"]), ("runc", found["runc"])):
        problem = below(floors, component, version, accepted)
        if problem:
            raise PreflightError(f"{problem}. An update restarts what runs in Docker, so the decision is yours")
    # The subcommand of docker is Compose 2 or later, also when its build has no number.
    if found["compose"] and (version_of(found["compose"]) or (2,))[:1] >= (2,):
        return Decision({}, LEFT_ALONE)
    suite = _suite(found)
    if source == "docker":
        return Decision({"docker-compose-plugin": pins.compose}, "Docker has no Compose 2")
    if not COMPOSE[suite]:
        raise PreflightError(f"{_system(found)} has Compose 1 only, needed Compose 2: set phi4_docker_source=docker")
    return Decision({COMPOSE[suite]: ""}, "Docker has no Compose 2")


def _system(found: Mapping[str, Any]) -> str:
    return f"{found['os']['id']} {found['os']['version_id']}".strip() or "this system"


def _suite(found: Mapping[str, Any]) -> str:
    """Code name of a distribution that we install on. Raises PreflightError for any other."""
    suite = SUITES.get((found["os"]["id"], found["os"]["version_id"]))
    if suite is None or found["architecture"] not in ARCHITECTURES:
        known = ", ".join(" ".join(pair) for pair in SUITES)
        step = by_hand(found["os"]["id"], found["os"]["version_id"], found["engine"])
        raise PreflightError(
            f"found {_system(found)} on {found['architecture'] or 'an unknown architecture'}, needed one of {known} on "
            f"{' or '.join(ARCHITECTURES)} to install packages: {step}, then {AGAIN}"
        )
    return suite


def repository(found: Mapping[str, Any], url: str) -> dict[str, str]:
    """Docker's repository for the host as `phi4_docker` takes one; `url` is the base that a mirror replaces."""
    name = found["os"]["id"]
    base = f"{url.rstrip('/')}/{name}"
    return {
        "name": "docker", "uri": base, "suite": _suite(found), "components": "stable", "key_url": f"{base}/gpg",
        "architecture": found["architecture"],
    }  # fmt: skip


def sources(repository: Mapping[str, str], key_path: str) -> str:
    """The text of a deb822 file for apt. A suite that ends with "/" is a flat repository and has no components."""
    lines = ["Types: deb", f"URIs: {repository['uri']}", f"Suites: {repository['suite']}"]
    if not repository["suite"].endswith("/"):
        lines.append(f"Components: {repository['components']}")
    return "\n".join([*lines, f"Architectures: {repository['architecture']}", f"Signed-By: {key_path}", ""])


def pick(package: str, offered: Sequence[str], wanted: str) -> str:
    """The full version among `offered` (newest first) whose upstream part is `wanted`, or the newest for "".

    Raises PreflightError naming what is on offer.
    """
    for version in offered:
        if not wanted or upstream(version) == wanted:
            return version
    some = ", ".join(sorted({upstream(version) for version in offered}, key=version_of)[-5:])
    raise PreflightError(
        f"found {some or 'no version'} of {package} in the host's package sources, needed {wanted or 'any'}"
    )


def upstream(version: str) -> str:
    """28.5.2 of 5:28.5.2-1~debian.13~trixie: without epoch, without the distribution's part."""
    return ".".join(str(number) for number in version_of(version.partition(":")[2] or version))


def installed(found: Mapping[str, str], packages: Mapping[str, str]) -> bool:
    """True when the host has every one of `packages` in the version wanted."""
    return all(name in found and (not wanted or upstream(found[name]) == wanted) for name, wanted in packages.items())
