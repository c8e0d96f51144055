"""A gateway that looks after itself: what it puts back, what it leaves, and when it does nothing at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts.units import HEAL_FORMAT, Healing
from tests.ansible.host_scripts import ONE, Host, hostlib, load, receipt

heal = load("service", "heal")
UNIT, GUARD = "phi4-edge.service", "phi4-edge-guard.service"


class Machine:
    """systemd of the host, as far as it is asked; what it was told is in `said`."""

    def __init__(self) -> None:
        self.state = {UNIT: ("active", "enabled")}
        self.said: list[tuple[str, ...]] = []

    def systemctl(self, *words: str) -> tuple[int, str]:
        if words[0] == "show":
            lines = (f"Id={name}\nActiveState={now}\nUnitFileState={boot}" for name, (now, boot) in self.state.items())
            return 0, "\n\n".join(lines)
        self.said.append(words)
        return 0, ""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(heal, "systemctl", made.systemctl)
    return made


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: Machine) -> Host:
    """A committed release with a unit, which has been looked at once."""
    import hostreceipt

    units = tmp_path / "units"
    units.mkdir()
    monkeypatch.setattr(hostreceipt, "UNITS", str(units))
    monkeypatch.setattr(heal, "FOLDER", str(units))
    for name in ("HOLD", "LOCK", "SWITCHING"):
        monkeypatch.setattr(heal, name, str(tmp_path / name))
    monkeypatch.setattr(hostreceipt, "LOCAL_FACT", str(tmp_path / "etc/ansible/facts.d/phi4_edge.fact"))
    monkeypatch.setattr(hostreceipt, "LOCAL_FACTS", str(tmp_path / "etc/ansible/facts.d"))
    made = Host(tmp_path)
    made.release(ONE, "m")
    (units / UNIT).write_text("[Service]\n")
    body = {"release": ONE, "plan_fingerprint": ONE, "format": "phi4-edge/receipt/1"}
    hostlib.link_atomic(f"releases/{ONE}", str(made.root / "current"))
    args = {"root": str(made.root), "state": str(made.state), "receipt": str(made.receipt), "check": False}
    receipt.commit({**args, "body": body, "files": [str(units / UNIT)], "proof": made.gate(ONE)}, b"")
    look(made)
    machine.said.clear()
    return made


def look(host: Host) -> dict[str, Any]:
    """What the host has noted of itself after one more look."""
    assert heal.main(str(host.root), str(host.state)) == 0
    path = host.state / "heal.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def environment(host: Host) -> Path:
    return host.root / "releases" / ONE / "environment"


def test_a_look_that_finds_nothing_keeps_copies_and_writes_nothing_else(host: Host) -> None:
    before = {path: path.stat().st_mtime_ns for path in host.state.rglob("*")}
    assert look(host) == {}
    assert {path: path.stat().st_mtime_ns for path in host.state.rglob("*")} == before
    assert [path.read_text() for path in (host.state / "heal").iterdir() if "NAME" in path.read_text()] == [
        f"NAME={ONE}\n"
    ]


def test_small_files_links_modes_and_the_service_are_put_right(host: Host, machine: Machine, tmp_path: Path) -> None:
    environment(host).unlink()
    (tmp_path / "units" / UNIT).chmod(0o666)
    (host.root / "current").unlink()
    (host.root / "current").symlink_to("/tmp")
    machine.state[UNIT] = ("failed", "disabled-by-nobody")
    machine.state[UNIT] = ("failed", "enabled")
    told = look(host)
    assert environment(host).read_text() == f"NAME={ONE}\n"
    assert (tmp_path / "units" / UNIT).stat().st_mode & 0o777 == 0o644
    assert (host.root / "current").readlink() == Path(f"releases/{ONE}")
    assert machine.said[-2:] == [("reset-failed", UNIT), ("start", "--no-block", UNIT)]
    assert told["left"] == [] and told["at"].endswith("Z")
    assert f"started {UNIT} (it was failed)" in told["did"] and len(told["did"]) == 4
    assert Healing.from_dict(told).notes[0].startswith(f"healed itself at {told['at']}: put back ")
    assert told["format"] == HEAL_FORMAT


def guarded(host: Host, machine: Machine, units: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """The release has a gateway and a guard in front of its engine, and a user of the host would be let in."""
    plan = {"release": ONE, "gateway": {"port": 8443}, "bind": "127.0.0.1", "port": 8080}
    (host.root / "releases" / ONE / "plan.json").write_text(json.dumps(plan))
    (units / GUARD).write_text("[Service]\n")
    body = {"release": ONE, "plan_fingerprint": ONE, "format": "phi4-edge/receipt/1"}
    args = {"root": str(host.root), "state": str(host.state), "receipt": str(host.receipt), "check": False}
    files = [str(units / UNIT), str(units / GUARD)]
    receipt.commit({**args, "body": body, "files": files, "proof": host.gate(ONE)}, b"")
    machine.state[GUARD] = (state, "enabled")
    monkeypatch.setattr(heal, "is_open", lambda where: where == ("127.0.0.1", 8080))


@pytest.mark.parametrize(
    ("state", "did", "left", "said"),
    [
        ("active", [f"loaded the rules of {GUARD} (others had removed them)"], [], [("reload", "--no-block", GUARD)]),
        ("inactive", [f"started {GUARD} (it was inactive)"], [],
         [("reset-failed", GUARD), ("start", "--no-block", GUARD)]),
        # On a kernel that cannot, trying again and again helps nobody.
        ("failed", [], [f"{GUARD} has failed, so every user of this host reaches the engine"], []),
    ],
)  # fmt: skip
def test_rules_that_others_removed_are_loaded_again(
    host: Host, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    state: str, did: list[str], left: list[str], said: list[tuple[str, ...]],
) -> None:  # fmt: skip
    guarded(host, machine, tmp_path / "units", monkeypatch, state)
    told = look(host)
    assert (told["did"], told["left"], machine.said) == (did, left, said)


def test_where_nobody_gets_past_the_guard_nothing_is_done(
    host: Host, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded(host, machine, tmp_path / "units", monkeypatch, "active")
    monkeypatch.setattr(heal, "is_open", lambda _where: False)
    assert look(host) == {} and machine.said == []


def test_a_service_that_runs_is_started_anew_only_for_what_it_reads(host: Host, machine: Machine) -> None:
    environment(host).chmod(0o600)
    look(host)
    assert [words for words in machine.said if words[0] == "restart"] == []
    environment(host).write_text("NAME=other\n")
    assert look(host)["did"][-1] == f"restarted {UNIT} (its files were put back)"
    assert machine.said[-1] == ("restart", "--no-block", UNIT)


def test_what_nobody_has_twice_is_named_and_left(host: Host) -> None:
    (host.state / "models" / "m" / "weights").write_text("n")
    assert look(host)["left"] == [f"{host.state}/models/m/weights is changed"]


def test_a_damaged_copy_is_not_put_back(host: Host) -> None:
    for copy in (host.state / "heal").iterdir():
        copy.write_text("damaged")
    environment(host).unlink()
    assert look(host)["left"] == [f"{environment(host)} is missing"]
    assert not environment(host).exists()


@pytest.mark.parametrize("name", ["HOLD", "SWITCHING"])
def test_nothing_is_done_while_somebody_says_so_or_a_switch_is_half_done(
    host: Host, machine: Machine, name: str
) -> None:
    Path(getattr(heal, name)).touch()
    environment(host).unlink()
    machine.state[UNIT] = ("inactive", "enabled")
    told = look(host)
    assert (told.get("held", ""), machine.said) == (heal.HOLD if name == "HOLD" else "", [])
    assert not environment(host).exists()


def test_a_service_that_was_stopped_and_disabled_stays_so(host: Host, machine: Machine) -> None:
    machine.state[UNIT] = ("inactive", "disabled")
    assert look(host)["left"] == [f"{UNIT} is stopped and not enabled: somebody took it out of service"]
    assert machine.said == []


def test_it_gives_up_for_an_hour_after_three_times(host: Host, machine: Machine) -> None:
    for _ in range(heal.ATTEMPTS):
        machine.state[UNIT] = ("failed", "enabled")
        look(host)
    machine.said.clear()
    assert look(host)["left"] == [f"put right {heal.ATTEMPTS} times within an hour, so nothing more for now"]
    assert machine.said == []


def test_an_edited_receipt_is_no_order(host: Host) -> None:
    host.receipt.write_text(host.receipt.read_text().replace('"mode":"0644"', '"mode":"0600"'))
    assert "the receipt was edited" in look(host)["left"][0]
    assert environment(host).stat().st_mode & 0o777 == 0o644
