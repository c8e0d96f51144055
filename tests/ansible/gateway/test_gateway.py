"""What the host does with keys and a certificate: whole files of root's alone, or those that were there before."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import hostlib, load

gateway = load("gateway", "gateway")
NOTE = {"format": "phi4-edge/credentials/1", "issuer": "", "digest": "d" * 64, "names": ["gw1"], "not_after": 7}


class Systemd:
    """Stand-in for systemctl: what the units are, and what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **states: str) -> None:
        self.states, self.asked, self.refuses = states, [], False
        monkeypatch.setattr(
            gateway,
            "shown",
            lambda unit: {"ActiveState": self.states.get(unit.partition(".")[0].replace("-", "_"), "inactive")},
        )
        monkeypatch.setattr(gateway, "must", self.must)

    def must(self, *words: str) -> None:
        self.asked.append(words)
        if self.refuses:
            raise hostlib.HostError("HAProxy says no")


@pytest.mark.parametrize("there", [True, False])
def test_whether_nftables_is_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    program = tmp_path / "nft"
    program.write_text("")
    program.chmod(0o755 if there else 0o644)
    monkeypatch.setattr(gateway, "NFT", str(program))
    monkeypatch.setattr(gateway.hosthaproxy, "installed", lambda: "2.6")
    assert gateway.inspect({}, b"") == {"installed": "2.6", "nft": there, "changed": False}


def bring(
    folder: Path, keys: str | None, pem: str | None, check: bool = False, client_ca: str | None = None
) -> dict[str, Any]:
    found: dict[str, Any] = gateway.bring(
        {"folder": str(folder / "gateway"), "note": NOTE, "check": check},
        json.dumps({"keys": keys, "client_ca": client_ca, "pem": pem}).encode(),
    )
    return found


def held(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((folder / "gateway").iterdir())}


def test_files_are_roots_alone_and_the_note_knows_the_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Systemd(monkeypatch).asked
    assert bring(tmp_path, "a north:0:0\n", "PEM\n")["changed"]
    assert asked == [], "one that does not run is not reloaded"
    assert stat.S_IMODE((tmp_path / "gateway").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "gateway").iterdir()} == {0o600}
    note = json.loads(held(tmp_path)["credentials.json"])
    assert note == {**NOTE, "pem": hashlib.sha256(b"PEM\n").hexdigest()}


def test_what_stays_is_left_and_a_gateway_that_runs_takes_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd = Systemd(monkeypatch, phi4_edge_gateway="active")
    bring(tmp_path, "a north:0:0\n", "PEM\n")
    assert bring(tmp_path, None, None) == {"changed": False, "changes": []}
    found = bring(tmp_path, "b south:0:0\n", None)
    assert found["changes"] == [str(tmp_path / "gateway" / "keys.map")]
    assert held(tmp_path)["keys.map"] == "b south:0:0\n" and held(tmp_path)["certificate.pem"] == "PEM\n"
    assert systemd.asked == [("reload", "phi4-edge-gateway.service")] * 2


def test_cas_of_clients_are_a_file_of_their_own_that_a_reload_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd = Systemd(monkeypatch, phi4_edge_gateway="active")
    bring(tmp_path, "a north:0:0\n", "PEM\n")
    found = bring(tmp_path, None, None, client_ca="CA\n")
    assert found["changes"] == [str(tmp_path / "gateway" / "clients-ca.pem")]
    assert held(tmp_path)["clients-ca.pem"] == "CA\n" and held(tmp_path)["certificate.pem"] == "PEM\n"
    assert stat.S_IMODE((tmp_path / "gateway" / "clients-ca.pem").stat().st_mode) == 0o600
    assert len(systemd.asked) == 2
    systemd.refuses = True
    with pytest.raises(hostlib.HostError, match="has the old ones"):
        bring(tmp_path, None, None, client_ca="no CA\n")
    assert held(tmp_path)["clients-ca.pem"] == "CA\n"


def test_a_certificate_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Systemd(monkeypatch)
    assert bring(tmp_path, "a north:0:0\n", "")["changes"] == [str(tmp_path / "gateway" / "keys.map")]
    bring(tmp_path, None, "PEM\n")
    assert bring(tmp_path, None, "")["changed"]
    assert "certificate.pem" not in held(tmp_path) and json.loads(held(tmp_path)["credentials.json"])["pem"] == ""


def test_a_gateway_that_refuses_them_has_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = Systemd(monkeypatch, phi4_edge_gateway="active")
    bring(tmp_path, "a north:0:0\n", "PEM\n")
    before, systemd.refuses = held(tmp_path), True
    with pytest.raises(hostlib.HostError, match="has the old ones: HAProxy says no"):
        bring(tmp_path, "b south:0:0\n", "OTHER\n")
    assert held(tmp_path) == before


def test_check_mode_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Systemd(monkeypatch)
    assert bring(tmp_path, "a north:0:0\n", "PEM\n", check=True)["changed"]
    assert not (tmp_path / "gateway").exists()


@pytest.mark.parametrize(
    ("status", "output", "then"),
    [
        (0, "installed 2.6.12-1+deb12u1", "2.6.12-1+deb12u1"),
        (0, "config-files 2.6.12", ""),
        (1, "no packages found", ""),
        (127, "", ""),
    ],
)
def test_only_an_installed_package_counts(monkeypatch: pytest.MonkeyPatch, status: int, output: str, then: str) -> None:
    monkeypatch.setattr(gateway.hosthaproxy, "command", lambda *_words: (status, output))
    assert gateway.inspect({}, b"")["installed"] == then


def test_the_packages_own_service_is_left_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = Systemd(monkeypatch, haproxy="active")
    assert gateway.quiet({"check": True}, b"") == {"changed": True} and systemd.asked == []
    assert gateway.quiet({"check": False}, b"") == {"changed": True}
    assert systemd.asked == [("disable", "--quiet", "--now", "haproxy.service")]
    systemd.states["haproxy"] = "inactive"
    assert gateway.quiet({"check": False}, b"") == {"changed": False}
