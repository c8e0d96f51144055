"""Docker's configuration on a host: merged, never replaced, and given back as it was found."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import hostlib, load
from tests.ansible.plays import ROOT

sys.path.insert(0, str(ROOT / "roles" / "docker" / "files"))
import dockerlib

daemon = load("docker", "daemon")
OURS = {"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}, "live-restore": True}
CDI = {"features": {"cdi": True}}


class Configured:
    """daemon.json and the memory of one host, below a folder. No Docker is asked: there is none on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.path, self.state = folder / "etc" / "docker" / "daemon.json", folder / "state"
        self.path.parent.mkdir(parents=True)

    def args(self, **more: Any) -> dict[str, Any]:
        return {"path": str(self.path), "state": str(self.state), "check": False, "diff": False, **more}

    def merge(self, owner: str = "docker", defaults: Any = OURS, required: Any = None, **more: Any) -> dict[str, Any]:
        wish = {"owner": owner, "defaults": defaults, "required": required or {}}
        return dict(daemon.merge(self.args(**wish, **more), b""))

    def restore(self, **more: Any) -> dict[str, Any]:
        return dict(daemon.restore(self.args(**more), b""))

    def now(self) -> Any:
        return json.loads(self.path.read_text())

    def names(self) -> set[str]:
        return {path.name for path in [*self.path.parent.iterdir(), *self.state.glob("*")]}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configured:
    monkeypatch.setenv("PATH", str(tmp_path / "no-tools"))
    return Configured(tmp_path)


def test_an_absent_file_is_made_and_goes_again(host: Configured) -> None:
    assert host.merge()["changed"]
    assert host.now() == OURS
    assert not host.merge()["changed"]
    assert host.restore()["changed"]
    assert host.names() == set()
    assert not host.restore()["changed"]


FOUND = [
    b'{"log-opts": {"max-size": "5m"},   "labels": ["a=b"]}',
    b'{\n\t"debug": true\n}\n\n',
    b"",
    b"  \n",
    b"{}",
    '{"labels": ["ort=Köln"]}'.encode(),
    json.dumps(OURS).encode(),
]


@pytest.mark.parametrize("text", FOUND)
def test_the_file_comes_back_to_the_byte_with_mode(host: Configured, text: bytes) -> None:
    host.path.write_bytes(text)
    host.path.chmod(0o640)
    host.merge()
    host.merge("nvidia_runtime", {"runtimes": {"nvidia": {"path": "x", "args": []}}}, CDI)
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o640
    assert host.now()["features"] == {"cdi": True}
    assert host.restore()["owners"] == ["docker", "nvidia_runtime"]
    assert host.path.read_bytes() == text
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o640
    assert host.names() == {"daemon.json"}


def test_what_is_there_wins_and_stays(host: Configured) -> None:
    host.path.write_text('{"log-opts": {"max-size": "5m", "compress": "true"}, "live-restore": false}')
    host.merge()
    assert host.now() == {
        "log-opts": {"max-size": "5m", "compress": "true", "max-file": "3"}, "live-restore": False,
        "log-driver": "json-file",
    }  # fmt: skip
    assert (host.path.parent / "daemon.json.before-phi4-edge").read_text().startswith('{"log-opts"')


def test_options_of_another_log_driver_are_left_alone(host: Configured) -> None:
    host.path.write_text('{"log-driver": "journald"}')
    host.merge()
    assert host.now() == {"log-driver": "journald", "live-restore": True}


def test_an_edit_after_us_survives_the_removal(host: Configured) -> None:
    host.path.write_text('{"debug": true}')
    host.merge()
    host.path.write_text(json.dumps({**host.now(), "shutdown-timeout": 30, "live-restore": False}))
    assert not host.merge()["changed"]
    host.restore()
    assert host.now() == {"debug": True, "shutdown-timeout": 30, "live-restore": False}


def test_an_edit_that_took_ours_away_is_repaired_and_still_survives(host: Configured) -> None:
    host.merge()
    host.path.write_text('{"debug": true}')
    assert host.merge()["changed"]
    assert host.now() == {"debug": True, **OURS}
    host.restore()
    assert host.now() == {"debug": True}


def test_new_defaults_replace_our_old_ones_only(host: Configured) -> None:
    host.path.write_text('{"log-opts": {"max-file": "9"}}')
    host.merge()
    host.merge(defaults={**OURS, "log-opts": {"max-size": "20m", "max-file": "5"}})
    assert host.now()["log-opts"] == {"max-file": "9", "max-size": "20m"}
    host.restore()
    assert host.path.read_text() == '{"log-opts": {"max-file": "9"}}'


def test_settings_of_two_roles_do_not_take_each_other_away(host: Configured) -> None:
    host.merge()
    host.merge("nvidia_runtime", {}, CDI)
    assert not host.merge()["changed"]
    assert not host.merge("nvidia_runtime", {}, CDI)["changed"]
    assert host.now() == {**OURS, **CDI}


def test_a_conflict_with_what_is_needed_is_named_and_nothing_is_touched(host: Configured) -> None:
    host.path.write_text('{"features": {"cdi": false}}')
    with pytest.raises(hostlib.HostError, match=r"features\.cdi is false, needed true"):
        host.merge("nvidia_runtime", {}, CDI)
    assert host.path.read_text() == '{"features": {"cdi": false}}'
    assert host.names() == {"daemon.json"}


@pytest.mark.parametrize("text", ['{"debug": true,}', "[]", '"text"', "[" * 100000, "\x00"])
def test_what_docker_could_not_read_is_refused_untouched(host: Configured, text: str) -> None:
    host.path.write_text(text)
    with pytest.raises(hostlib.HostError, match="repair it, or move it away"):
        host.merge()
    assert host.path.read_text() == text
    assert host.names() == {"daemon.json"}


def test_a_link_is_somebody_elses(host: Configured, tmp_path: Path) -> None:
    (tmp_path / "managed.json").write_text("{}")
    host.path.symlink_to(tmp_path / "managed.json")
    with pytest.raises(hostlib.HostError, match="something else manages it"):
        host.merge()


def test_check_mode_changes_nothing_and_says_what_would(host: Configured) -> None:
    host.path.write_text('{"debug": true}')
    done = host.merge(check=True, diff=True)
    assert done["changed"]
    assert '"max-size": "10m"' in done["diff"][0]["after"]
    assert host.names() == {"daemon.json"}
    host.merge()
    assert host.restore(check=True)["changed"]
    assert host.now() == {"debug": True, **OURS}


def test_a_restart_is_due_until_it_happened(host: Configured) -> None:
    assert host.merge()["pending"]
    again = host.merge()
    assert (again["changed"], again["pending"]) == (False, True)


def test_a_power_cut_between_memory_and_file_loses_nothing(host: Configured) -> None:
    text = b'{"debug":   true}'
    host.path.write_bytes(text)
    host.merge()
    host.path.write_bytes(text)  # as if the second write had not happened
    host.merge()
    host.restore()
    assert host.path.read_bytes() == text


def test_a_swarm_keeps_out_what_it_refuses() -> None:
    assert "live-restore" not in dockerlib.fitting({}, OURS, swarm=True)
    assert dockerlib.fitting({}, OURS, swarm=False) == OURS


def test_the_memory_is_for_root_alone(host: Configured) -> None:
    host.path.write_text('{"proxies": {"http-proxy": "http://user:secret@proxy"}}')
    host.merge()
    assert stat.S_IMODE((host.state / "docker.json").stat().st_mode) == 0o600


def test_a_folder_that_the_operator_closed_stays_closed(host: Configured) -> None:
    """Keys for registries lie in /etc/docker too."""
    host.path.parent.chmod(0o700)
    assert host.merge()["changed"]
    assert stat.S_IMODE(host.path.parent.stat().st_mode) == 0o700
    assert host.restore()["changed"]
    assert stat.S_IMODE(host.path.parent.stat().st_mode) == 0o700
