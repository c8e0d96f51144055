"""A host without systemd: what PID 1 is, and what helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import init, parse
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.packages import commands
from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.text import parts

ALPINE = "ID=alpine\nVERSION_ID=3.22.1\nPRETTY_NAME=Alpine"
# Name of PID 1 as the probe sends it, os-release, kernel: what is said of it, and what helps.
HOSTS = {
    "Alpine": ("init offline", ALPINE, "6.12.38-0-lts", "PID 1 is init (OpenRC)", "a system with systemd"),
    "Gentoo": ("init ", "ID=gentoo", "6.6.1", "PID 1 is init (OpenRC)", "a system with systemd"),
    "Devuan": ("init missing", "ID=devuan\nID_LIKE=debian", "6.1", "PID 1 is init (SysV init)", "a system with"),
    "Void": ("runit missing", "ID=void", "6.6", "PID 1 is runit", "a system with systemd"),
    "OpenWrt": ("procd missing", "ID=openwrt", "6.6", "PID 1 is procd (procd of OpenWrt)", "a system with systemd"),
    "BusyBox, a board's maker": ("init missing", "ID=buildroot", "5.10", "PID 1 is init (SysV init, OpenRC", "systemd"),
    "s6": ("s6-svscan missing", "ID=artix", "6.6", "PID 1 is s6-svscan (s6)", "a system with systemd"),
    "container with tini": ("tini offline", "ID=debian", "6.1", "PID 1 is tini, which is no init system", "/sbin/init"),
    "container with sshd": ("sshd missing", ALPINE, "6.1", "PID 1 is sshd, which is no init system", "/sbin/init"),
    "container with a shell": ("bash offline", "ID=ubuntu", "6.8", "PID 1 is bash, which is no", "/sbin/init"),
    "WSL": ("init(Ubuntu) offline", "ID=ubuntu", "5.15.1-microsoft-standard-WSL2", "PID 1 is init(Ubuntu)", "wsl"),
    "WSL, older": ("init offline", "ID=debian", "5.15.90.1-microsoft-standard-WSL2", "PID 1 is init", "systemd=true"),
    "not readable": (None, "ID=debian", "6.1", "PID 1 is unknown", "a system with systemd"),
}  # fmt: skip


def host(document: Callable[..., Any], name: str) -> Any:
    started, system, kernel, _, _ = HOSTS[name]
    docker = {"docker": "28.5.2", "compose": "2.40.3"}  # so that it is not the packages that are in the way
    return document("n150-8gb", init=started, os_release=system, uname=f"Linux {kernel} x86_64", **docker)


@pytest.mark.parametrize("manager", ["auto", "systemd", "compose"])
@pytest.mark.parametrize("name", HOSTS)
def test_a_host_without_systemd_is_told_what_it_has_and_what_it_needs(
    document: Callable[..., Any], plan: Callable[..., Plan], name: str, manager: str
) -> None:
    made = plan(host(document, name), service_manager=manager)
    _, _, _, said, step = HOSTS[name]
    told = made.not_applicable or "; ".join(made.missing)
    assert not made.fits or not made.applicable
    assert said in told
    assert "systemd" in told
    assert "package" not in told
    assert "cannot be installed" not in told
    if made.fits:
        found, needed, following = parts(told)
        assert found.startswith(said)
        assert needed == init.NEEDED
        assert step in following


def test_where_systemd_is_first_nothing_is_in_the_way(document: Callable[..., Any], plan: Callable[..., Plan]) -> None:
    assert init.hindrance(parse.parse(document("n150-8gb"))) == ""
    assert plan(document("n150-8gb")).applicable


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("Alpine", "sudo rc-update add docker default && sudo rc-service docker start"),
        ("Devuan", "sudo update-rc.d docker defaults && sudo service docker start"),
        ("Void", "sudo ln -s /etc/sv/docker /var/service/"),
        ("s6", "start docker as this host starts its services"),
        ("container with tini", "start docker as this host starts its services"),
    ],
)
def test_a_service_is_started_as_that_host_does(document: Callable[..., Any], name: str, command: str) -> None:
    facts: HostFacts = parse.parse(host(document, name))
    assert commands.start("docker", facts) == command


def test_a_service_of_systemd_is_started_by_it(document: Callable[..., Any]) -> None:
    assert commands.start("docker", parse.parse(document("n150-8gb"))) == "sudo systemctl enable --now docker"
    assert commands.start("docker", None) == "sudo systemctl enable --now docker"
