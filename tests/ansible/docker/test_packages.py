"""Packages on a host: repositories that exclude each other, locks, interrupted installations, versions on offer.

The package manager is played by scripts that print what the real one prints; the Molecule scenario runs the real one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import hostlib, load
from tests.ansible.plays import ROOT

sys.path.insert(0, str(ROOT / "roles" / "docker" / "files"))
packages = load("docker", "packages")
REPLACES = r"download\.docker\.com/linux/"
OLD = "deb [signed-by=/etc/apt/keyrings/docker.gpg] https://download.docker.com/linux/debian trixie stable\n"


class Tools:
    """Programs on the PATH of the test alone, each a line of shell; `calls` has every command line."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "calls"
        folder.mkdir()

    def add(self, name: str, script: str) -> None:
        tool = self.folder / name
        tool.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.log}\n{script}\n')
        tool.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith(f"{name} ")]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    made = Tools(tmp_path / "bin")
    made.add("dpkg", "exit 0")
    monkeypatch.setenv("PATH", f"{made.folder}:/usr/bin:/bin")
    monkeypatch.setattr(packages, "UPDATES", str(tmp_path / "updates"))
    return made


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    monkeypatch.setattr(packages, "SOURCES", str(folder))
    return folder


def wish(sources: Path, **more: Any) -> dict[str, Any]:
    ours = {"key_path": str(sources.parent / "keyrings" / "docker.asc"), "sources_path": str(sources / "ours.sources")}
    return {**ours, "key": "KEY\n", "sources": "Types: deb\n", "replaces": REPLACES, "check": False, **more}


def test_the_repository_is_written_once(sources: Path) -> None:
    assert packages.repository(wish(sources), b"")["changed"]
    assert (sources.parent / "keyrings" / "docker.asc").read_text() == "KEY\n"
    assert not packages.repository(wish(sources), b"")["changed"]


def test_an_older_source_of_the_same_repository_is_set_aside_and_others_stay(sources: Path) -> None:
    (sources / "docker.list").write_text(OLD)
    (sources / "docker.sources").write_text(
        "Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: trixie\n"
    )
    (sources / "debian.sources").write_text("Types: deb\nURIs: http://mirror.example/debian\n")
    (sources / "notes.txt").write_text(OLD)
    packages.repository(wish(sources), b"")
    assert {path.name for path in sources.iterdir()} == {
        "docker.list.disabled", "docker.sources.disabled", "debian.sources", "notes.txt", "ours.sources",
    }  # fmt: skip


def test_a_source_that_lists_others_too_is_left_to_its_owner(sources: Path) -> None:
    (sources / "all.list").write_text(f"# {OLD}{OLD}deb http://mirror.example/debian trixie main\n")
    with pytest.raises(hostlib.HostError, match=r"all.list lists the same repository beside others: remove its line"):
        packages.repository(wish(sources), b"")
    assert (sources / "all.list").exists()


def test_a_comment_is_no_source(sources: Path) -> None:
    (sources / "off.list").write_text(f"# {OLD}")
    packages.repository(wish(sources), b"")
    assert (sources / "off.list").exists()


def test_check_mode_writes_nothing(sources: Path) -> None:
    (sources / "docker.list").write_text(OLD)
    done = packages.repository(wish(sources, check=True), b"")
    assert [Path(path).name for path in done["changes"]] == ["docker.list", "docker.asc", "ours.sources"]
    assert [path.name for path in sources.iterdir()] == ["docker.list"]


def test_versions_on_offer_newest_first_without_sources_of_code(tools: Tools) -> None:
    rows = [
        "docker-ce | 5:29.0.1-1~debian.13~trixie | http://m/debian trixie/stable amd64 Packages",
        "docker-ce | 5:28.5.2-1~debian.13~trixie | http://m/debian trixie/stable amd64 Packages",
        "docker-ce | 5:28.5.2-1~debian.13~trixie | http://m/debian trixie/stable Sources",
    ]
    tools.add("apt-cache", "cat <<'X'\n" + "\n".join(rows) + "\nX")
    done = packages.offered({"packages": ["docker-ce"], "update": False, "lock_seconds": 0}, b"")
    assert done["offered"] == {"docker-ce": ["5:29.0.1-1~debian.13~trixie", "5:28.5.2-1~debian.13~trixie"]}


def test_a_broken_source_of_the_operators_is_said_and_is_no_failure(tools: Tools) -> None:
    tools.add("apt-get", "echo 'E: The repository http://gone trixie Release is not signed.'; exit 100")
    tools.add("apt-cache", "exit 0")
    done = packages.offered({"packages": ["x"], "update": True, "lock_seconds": 0}, b"")
    assert done["offered"] == {"x": []}
    assert "is not signed" in done["said"]


def test_apt_waits_for_a_lock_of_the_lists(tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.time, "sleep", lambda _seconds: None)
    held = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt)"
    tools.add("apt-get", f'[ -e {tmp_path}/once ] && exit 0\ntouch {tmp_path}/once\necho "{held}"\nexit 100')
    assert packages.apt({"lock_seconds": 60}, "update") == ""
    assert len(tools.calls("apt-get")) == 2
    assert "DPkg::Lock::Timeout=60" in tools.calls("apt-get")[0]


def test_a_lock_that_stays_is_named_with_what_to_do(tools: Tools) -> None:
    tools.add("apt-get", "echo 'E: Could not get lock /var/lib/dpkg/lock-frontend.'; exit 100")
    with pytest.raises(hostlib.HostError, match="another package manager is at work on the host: try later"):
        packages.apt({"lock_seconds": 0}, "install")


@pytest.mark.parametrize("state", ["updates", "audit"])
def test_an_interrupted_installation_is_named_with_the_fix(tools: Tools, tmp_path: Path, state: str) -> None:
    if state == "updates":
        (tmp_path / "updates").mkdir()
        (tmp_path / "updates" / "0001").touch()
    else:
        tools.add("dpkg", "echo 'The following packages are only half configured: docker-ce'")
    with pytest.raises(hostlib.HostError, match="run `dpkg --configure -a` there"):
        packages.install({"packages": {"a": "1"}, "remove": [], "lock_seconds": 0}, b"")


def test_only_what_differs_is_installed_and_nothing_is_removed_for_it(tools: Tools) -> None:
    tools.add("dpkg-query", "echo 'a installed 1'; echo 'b config-files 1'; echo 'old installed 3'")
    tools.add("apt-get", "exit 0")
    packages.install({"packages": {"a": "1", "b": "2"}, "remove": ["old", "gone"], "lock_seconds": 5}, b"")
    removal, installation = tools.calls("apt-get")
    assert removal.endswith("remove --yes old")
    assert installation.endswith("install --yes --no-install-recommends --no-remove b=2")


def test_nothing_to_do_asks_apt_nothing(tools: Tools) -> None:
    tools.add("dpkg-query", "echo 'a installed 1'")
    tools.add("apt-get", "exit 1")
    assert not packages.install({"packages": {"a": "1"}, "remove": [], "lock_seconds": 0}, b"")["changed"]
    assert tools.calls("apt-get") == []
