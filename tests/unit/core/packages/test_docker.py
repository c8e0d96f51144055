"""What a host needs to have Docker: every distribution, every state it may be found in, every refusal."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.core.packages import docker
from phi4_edge.core.packages.docker import Pins, below, decide, pick, upstream
from phi4_edge.data import load_cve_floors
from phi4_edge.errors import PreflightError

FLOORS = load_cve_floors()
PINS = Pins("28.5.2", "1.7.29", "2.40.3")


def host(name: str = "debian", version: str = "13", **more: Any) -> dict[str, Any]:
    """What the host script finds on a host without Docker."""
    empty = {"packages": {}, "dpkg": "", "snap": False, "engine": "", "compose": "", "runc": ""}
    return {**empty, "os": {"id": name, "version_id": version}, "architecture": "amd64", **more}


@pytest.mark.parametrize(("name", "version"), docker.SUITES)
def test_dockers_own_packages_are_pinned_on_each_distribution(name: str, version: str) -> None:
    found = host(name, version)
    assert decide(found, "docker", PINS, FLOORS).packages == {
        "docker-ce": "28.5.2", "docker-ce-cli": "28.5.2", "containerd.io": "1.7.29", "docker-compose-plugin": "2.40.3",
    }  # fmt: skip
    repository = docker.repository(found, "http://mirror/docker/")
    suite = docker.SUITES[name, version]
    assert docker.sources(repository, "/etc/apt/keyrings/k.asc") == (
        f"Types: deb\nURIs: http://mirror/docker/{name}\nSuites: {suite}\nComponents: stable\nArchitectures: amd64\n"
        "Signed-By: /etc/apt/keyrings/k.asc\n"
    )
    assert repository["key_url"] == f"http://mirror/docker/{name}/gpg"


def test_a_flat_repository_has_no_components() -> None:
    flat = {"uri": "http://x", "suite": "/", "components": "", "architecture": "arm64"}
    assert "Components" not in docker.sources(flat, "k")


@pytest.mark.parametrize(
    ("system", "compose"),
    [
        (("debian", "13"), "docker-compose"),
        (("ubuntu", "22.04"), "docker-compose-v2"),
        (("ubuntu", "24.04"), "docker-compose-v2"),
    ],
)
def test_the_distributions_packages(system: tuple[str, str], compose: str) -> None:
    packages = decide(host(*system), "distribution", PINS, FLOORS).packages
    assert set(packages) - {"docker-cli"} == {"docker.io", compose, "iptables"}
    assert ("docker-cli" in packages) is (system == ("debian", "13"))


@pytest.mark.parametrize("packages", [{}, {"docker.io": "20.10.24"}])
def test_debian_12_has_no_compose_2(packages: dict[str, str]) -> None:
    found = host(version="12", packages=packages, engine="28.5.2" if packages else "")
    with pytest.raises(
        PreflightError, match="debian 12 has Compose 1 only, needed Compose 2: set phi4_docker_source=docker"
    ):
        decide(found, "distribution", PINS, FLOORS)


@pytest.mark.parametrize(
    "more",
    [
        {"name": "fedora", "version": "43", "architecture": ""}, {"name": "ubuntu", "version": "20.04"},
        {"architecture": "armhf"}, {"name": "", "version": ""},
    ],
)  # fmt: skip
def test_what_was_not_tested_is_refused_with_what_to_do(more: dict[str, Any]) -> None:
    with pytest.raises(PreflightError, match=r"needed one of debian 12.*(Compose 2|compose-plugin).*, then "):
        decide(host(**more), "docker", PINS, FLOORS)


@pytest.mark.parametrize("source", ["docker", "distribution"])
@pytest.mark.parametrize(
    ("system", "engine", "step"),
    [
        (("debian", "11"), "", r"docker\.io 20\.10 and docker-compose 1\.25.*suite bullseye.*docker-compose-plugin"),
        (("debian", "11"), "28.5.2", r"docker\.io 20\.10.*Compose's own releases .*cli-plugins"),
        (("raspbian", "11"), "", r"suite bullseye"),
        (("debian", "10"), "", r"docker\.io 18\.09.*suite buster"),
        (("ubuntu", "20.04"), "", r"docker-compose-v2 in its updates.*suite focal"),
        (("fedora", "43"), "", r": install Docker and Compose 2 there yourself, then"),
        (("fedora", "43"), "28.5.2", r": take the program of Compose's own releases"),
    ],
)
def test_where_nothing_is_installed_the_way_by_hand_is_one_that_the_system_has(
    system: tuple[str, str], engine: str, step: str, source: str
) -> None:
    with pytest.raises(PreflightError, match=step):
        decide(host(*system, engine=engine), source, PINS, FLOORS)


def test_docker_that_is_new_enough_is_left_alone_wherever_it_runs() -> None:
    found = host("fedora", "43", engine="28.5.2", compose="2.40.3", runc="1.3.3")
    assert decide(found, "docker", PINS, FLOORS).packages == {}


@pytest.mark.parametrize(
    ("source", "wanted"), [("docker", {"docker-compose-plugin": "2.40.3"}), ("distribution", {"docker-compose": ""})]
)
@pytest.mark.parametrize("compose", ["", "1.29.2"])
def test_only_compose_is_added_beside_docker(source: str, wanted: dict[str, str], compose: str) -> None:
    found = host(engine="28.5.2", compose=compose)
    assert decide(found, source, PINS, FLOORS).packages == wanted


@pytest.mark.parametrize("found", [{"compose": "unknown"}, {"engine": "unknown", "compose": "2.40.3"}])
@pytest.mark.parametrize("name", ["debian", "arch"])
def test_what_answers_without_a_number_is_left_alone(name: str, found: dict[str, str]) -> None:
    assert decide(host(name, **{"engine": "28.5.2", **found}), "docker", PINS, FLOORS).packages == {}


@pytest.mark.parametrize(
    ("versions", "named"),
    [
        (
            {"engine": "26.1.5"},
            "docker 26.1.5, needed 28.5.2 or newer: .*CVE-2025-31133.*phi4_accept_below_floor=docker",
        ),
        ({"engine": "28.5.2", "runc": "1.1.15"}, "runc 1.1.15, needed 1.2.8"),
        ({"engine": "28.5.2", "runc": "1.3.2"}, "runc 1.3.2, needed 1.3.3"),
    ],
)
def test_docker_below_the_floor_is_refused_with_the_cves(versions: dict[str, str], named: str) -> None:
    found = host(compose="2.40.3", **versions)
    with pytest.raises(PreflightError, match=named):
        decide(found, "docker", PINS, FLOORS)
    assert decide(found, "docker", PINS, FLOORS, docker.accepted("docker, runc")).packages == {}


def test_a_pin_below_the_floor_is_refused() -> None:
    with pytest.raises(PreflightError, match=r"phi4_docker_version: found docker 28.5.1, needed 28.5.2"):
        decide(host(), "docker", Pins("28.5.1", "1.7.29", "2.40.3"), FLOORS)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"dpkg": "dpkg was interrupted"}, "run `dpkg --configure -a`"), ({"snap": True}, "snap remove docker"),
        ({"packages": {"podman-docker": "5", "runc": "1"}}, "found podman-docker, runc, .*remove podman-docker runc"),
    ],
)  # fmt: skip
def test_what_is_in_the_way_is_named(more: dict[str, Any], named: str) -> None:
    with pytest.raises(PreflightError, match=named):
        decide(host(**more), "docker", PINS, FLOORS)


@pytest.mark.parametrize("version", ["1.2.8", "1.3.3", "1.4.0", "", "1.2.10"])
def test_runc_that_is_good(version: str) -> None:
    assert below(FLOORS, "runc", version) == ""


def test_branches_are_those_of_the_file() -> None:
    row = {"minimum": "1.2.8", "why": "CVE-1", "branches": {"1.3": "1.3.9", "1.5": "1.5.1"}}
    floors = {"floors": {"runc": row}}
    assert below(floors, "runc", "1.3.9") == below(floors, "runc", "1.4.0") == below(floors, "other", "0.1") == ""
    for version, needed in (("1.3.8", "1.3.9"), ("1.5.0", "1.5.1"), ("1.2.7", "1.2.8")):
        assert f"found runc {version}, needed {needed} or newer: CVE-1." in below(floors, "runc", version)


@pytest.mark.parametrize(
    ("full", "short"),
    [
        ("5:28.5.2-1~debian.13~trixie", "28.5.2"), ("26.1.5+dfsg1-9+deb13u1", "26.1.5"), ("1.20.0-1", "1.20.0"),
        ("2:580.95.05-0ubuntu1", "580.95.5"),
    ],
)  # fmt: skip
def test_upstream_versions(full: str, short: str) -> None:
    assert upstream(full) == short


def test_a_version_is_picked_by_its_upstream_part_and_else_refused_with_the_offer() -> None:
    offered = ["5:29.0.1-1~debian.13~trixie", "5:28.5.2-1~debian.13~trixie", "5:28.5.20-1~debian.13~trixie"]
    assert pick("docker-ce", offered, "28.5.2") == offered[1]
    assert pick("docker-ce", offered, "") == offered[0]
    with pytest.raises(PreflightError, match=r"found 28.5.2, 28.5.20, 29.0.1 of docker-ce .*, needed 28.5"):
        pick("docker-ce", offered, "28.5")
    with pytest.raises(PreflightError, match="found no version of docker-ce"):
        pick("docker-ce", [], "")


def test_installed_is_all_of_it_in_the_version_wanted() -> None:
    wanted = {"a": "1.20.0", "b": ""}
    assert docker.installed({"a": "1.20.0-1", "b": "7"}, wanted)
    assert not docker.installed({"a": "1.19.0-1", "b": "7"}, wanted)
    assert not docker.installed({"a": "1.20.0-1"}, wanted)
