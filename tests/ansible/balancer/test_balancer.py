"""What the host does with a balancer's files: all of them are taken, or none."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import hostlib, load

balancer = load("balancer", "balancer")
FILES = {"balancer.cfg": "global\n", "key.cfg": "    setenv K p4e_x\n", "certificate.pem": "PEM\n", "ca.pem": "CA\n"}


class Machine:
    """Stand-in for systemctl, dpkg and HAProxy's own check."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.asked, self.active, self.refuses = folder, [], False, False
        monkeypatch.setattr(balancer, "UNIT_FILE", str(folder / "unit"))
        monkeypatch.setattr(balancer, "shown", self.shown)
        monkeypatch.setattr(balancer, "must", self.must)
        monkeypatch.setattr(balancer, "command", self.command)
        monkeypatch.setattr(balancer.hosthaproxy, "command", self.command)

    def shown(self, _unit: str) -> dict[str, str]:
        return {"ActiveState": "active", "UnitFileState": "enabled"} if self.active else {"ActiveState": "inactive"}

    def must(self, *words: str) -> None:
        self.asked.append(words[0])
        self.active = self.active or words[0] == "restart"

    def command(self, program: str, *_words: str) -> tuple[int, str]:
        if program == "dpkg-query":
            return 0, "installed 2.6.12-1+deb12u1"
        return (1, "unknown keyword 'blance'") if self.refuses else (0, "")

    def do(self, name: str, files: dict[str, Any] | None = None, unit: str = "[Unit]\n", check: bool = False) -> Any:
        args = {"folder": str(self.folder / "state" / "balancer"), "check": check}
        payload = json.dumps({"unit": unit, "files": files}).encode() if files is not None else b""
        return getattr(balancer, name)(args, payload)

    def held(self) -> dict[str, str]:
        folder = self.folder / "state" / "balancer"
        return {path.name: path.read_text() for path in sorted(folder.iterdir())} if folder.exists() else {}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_files_are_roots_alone_and_the_second_time_nothing_changes(machine: Machine) -> None:
    assert machine.do("bring", FILES, check=True)["changed"] and machine.held() == {}
    assert machine.do("bring", FILES)["changed"]
    assert machine.asked == ["daemon-reload", "enable", "restart"]
    folder = machine.folder / "state" / "balancer"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert machine.do("bring", dict.fromkeys(FILES)) == {"changed": False, "changes": []}
    assert machine.held() == FILES


def test_what_is_new_is_taken_by_a_reload_and_a_new_unit_by_a_restart(machine: Machine) -> None:
    machine.do("bring", FILES)
    machine.asked.clear()
    found = machine.do("bring", {"balancer.cfg": "global\n# new\n", "key.cfg": None})
    assert [Path(path).name for path in found["changes"]] == ["balancer.cfg"]
    assert machine.asked[-1] == "reload"
    machine.do("bring", {}, unit="[Unit]\n# new\n")
    assert machine.asked[-1] == "restart"


def test_where_haproxy_refuses_all_is_as_it_was(machine: Machine) -> None:
    machine.do("bring", FILES)
    machine.refuses = True
    with pytest.raises(hostlib.HostError, match="all is as it was: unknown keyword 'blance'"):
        machine.do("bring", {"balancer.cfg": "blance\n", "ca.pem": ""})
    assert machine.held() == FILES


def test_inspect_says_digests_and_no_key(machine: Machine) -> None:
    machine.do("bring", {**FILES, "credentials.json": '{"format": "x"}'})
    found = machine.do("inspect")
    assert found["installed"] == "2.6.12-1+deb12u1"
    assert found["key"] == hashlib.sha256(b"p4e_x").hexdigest()
    assert found["certificate"] == hashlib.sha256(b"PEM\n").hexdigest()
    assert found["note"] == '{"format": "x"}' and "p4e_x" not in json.dumps(found)


def test_nothing_is_left_of_one_that_is_removed(machine: Machine) -> None:
    assert machine.do("remove") == {"changed": False, "changes": []}
    machine.do("bring", FILES)
    assert len(machine.do("remove", check=True)["changes"]) == len(FILES) + 1
    assert machine.do("remove")["changed"]
    assert not (machine.folder / "unit").exists() and not (machine.folder / "state" / "balancer").exists()
    assert machine.asked[-2:] == ["disable", "daemon-reload"]
