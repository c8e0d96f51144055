"""A host that trusts keys: what it accepts, refuses and remembers, and that a refusal changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.artifacts.signing import rotation
from tests.ansible.host_scripts import ONE, TWO, args, hostadmit, hostlib, hosttrust, release, stage
from tests.ansible.trust.gateway import ID, Gateway, naming, refusal, trust
from tests.ansible.trust.statements import DAY, FIRST, NOW, SECOND, STRANGER, presented, rotated, statement


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.setattr(hosttrust, "now", lambda: NOW)
    return Gateway(tmp_path)


def test_a_host_without_keys_asks_for_nothing(gateway: Gateway) -> None:
    model = gateway.model()
    assert gateway.shown() == {"changed": False, "trusted": []}
    stage(gateway.host, ONE, {}, {"model": str(model)})
    hostadmit.guard_release(args(gateway.host), gateway.folder, {}, {}, stage=False)
    assert not (gateway.host.state / "trust").exists()


def test_an_unsigned_release_is_refused_and_a_signed_one_is_taken(gateway: Gateway) -> None:
    model = gateway.model()
    assert gateway.told(FIRST)["changed"] is True
    before = gateway.files()
    said = refusal("unsigned", gateway.shown)
    assert "needed" in said or "takes only what one of them signed" in said
    assert "Nothing was changed" in said
    refusal("unsigned", stage, gateway.host, ONE, {"environment": "A=1\n"}, {"model": str(model)})
    assert gateway.files() == before
    given = naming(model.name)
    assert gateway.shown(given, artifacts=[model.name])["changed"] is True
    assert gateway.shown(given, artifacts=[model.name]) == {
        "changed": False, "trusted": [FIRST.public.id], "counter": 7, "site": "default",
    }  # fmt: skip
    assert stage(gateway.host, ONE, {"environment": "A=1\n"}, {"model": str(model)})["changed"] is True
    assert stage(gateway.host, ONE, {"environment": "A=1\n"}, {"model": str(model)})["changed"] is False


def test_what_is_written_down_is_roots_alone(gateway: Gateway) -> None:
    gateway.told(FIRST)
    path = Path(hosttrust.path_of(gateway.state))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o644)
    with pytest.raises(hostlib.HostError, match="is not root's alone"):
        gateway.shown()
    path.chmod(0o600)
    path.write_text("{}")
    with pytest.raises(hostlib.HostError, match="cannot be used"):
        gateway.shown()


def test_check_mode_writes_nothing(gateway: Gateway) -> None:
    model = gateway.model()
    assert gateway.told(FIRST, check=True)["changed"] is True
    assert not (gateway.host.state / "trust").exists()
    gateway.told(FIRST)
    before = gateway.files()
    assert gateway.shown(naming(model.name), check=True)["changed"] is True
    assert gateway.files() == before


def test_content_that_is_not_named_is_refused_before_it_comes(gateway: Gateway) -> None:
    gateway.told(FIRST)
    before = gateway.files()
    refusal("not named", gateway.shown, naming("a" * 64), artifacts=["b" * 64])
    refusal("not named", gateway.shown, naming("a" * 64), images=[ID])
    refusal("not named", gateway.shown, naming("a" * 64), wheelhouses=["0" * 16 + "-cp313-x86_64"])
    assert gateway.files() == before


def test_what_lies_there_counts_and_not_what_it_is_called(gateway: Gateway) -> None:
    good, bad = gateway.model(), gateway.model(b"GGUF other weights")
    gateway.told(FIRST)
    gateway.shown(naming(good.name))
    refusal("not named", stage, gateway.host, ONE, {}, {"model": str(bad)})
    # Another content under the good name, with a record that tells the truth about it.
    good.rename(gateway.folder / "away")
    bad.rename(good)
    Path(f"{bad}.json").rename(f"{good}.json")
    assert "holds other content" in refusal("not named", stage, gateway.host, ONE, {}, {"model": str(good)})
    # The right record over other content.
    (good / "model.gguf").write_bytes(b"GGUF WEIGHTS")
    refusal("not named", stage, gateway.host, ONE, {}, {"model": str(good)})


@pytest.mark.parametrize("extra", ["more.bin", "sub/more.bin"])
def test_files_beside_what_was_delivered_are_refused(gateway: Gateway, extra: str) -> None:
    model = gateway.model()
    gateway.told(FIRST)
    gateway.shown(naming(model.name))
    (model / extra).parent.mkdir(exist_ok=True)
    (model / extra).write_bytes(b"x")
    refusal("not named", stage, gateway.host, ONE, {}, {"model": str(model)})


@pytest.mark.parametrize("target", ["/etc", "/var/lib/phi4-edge/models", "../../../outside", "../../engines/../x"])
def test_links_to_other_places_are_refused(gateway: Gateway, target: str) -> None:
    gateway.told(FIRST)
    gateway.shown(naming("a" * 64))
    refusal("not named", stage, gateway.host, ONE, {}, {"model": target})


def test_a_release_that_was_admitted_can_be_gone_back_to_and_no_other(gateway: Gateway) -> None:
    old, new = gateway.model(), gateway.model(b"GGUF new weights")
    gateway.told(FIRST)
    gateway.shown(naming(old.name))
    stage(gateway.host, ONE, {}, {"model": str(old)})
    gateway.shown(naming(new.name, counter=8))
    stage(gateway.host, TWO, {}, {"model": str(new)})
    folder = str(gateway.host.root / "releases" / ONE)
    # Named no more, and still what was admitted once.
    hostadmit.guard_release(args(gateway.host, release=ONE), folder, {}, {}, stage=False)
    refusal("not named", stage, gateway.host, ONE, {}, {"model": str(old)})
    (old / "model.gguf").write_bytes(b"GGUF changed")
    refusal("not named", hostadmit.guard_release, args(gateway.host, release=ONE), folder, {}, {}, stage=False)


def test_a_release_from_before_the_keys_is_not_switched_to(gateway: Gateway) -> None:
    model = gateway.model()
    stage(gateway.host, ONE, {"phi4-edge.service": "[Service]\n"}, {"model": str(model)})
    gateway.told(FIRST)
    refusal("unsigned", release.switch, args(gateway.host, release=ONE, restart=False), b"")
    refusal("unsigned", release.rehearse, args(gateway.host, release=ONE, files={}), b"")
    assert not (gateway.host.root / "current").is_symlink()


def test_time_order_and_site_hold_on_the_host(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.told(FIRST)
    gateway.shown(naming("a" * 64))
    before = gateway.files()
    refusal("older", gateway.shown, naming("a" * 64, counter=6))
    refusal("other site", gateway.shown, presented(statement(site="north", counter=9), FIRST))
    refusal("unknown key", gateway.shown, naming("a" * 64, key=STRANGER, counter=9))
    assert gateway.files() == before
    model = gateway.model()
    gateway.shown(naming(model.name, counter=8))
    monkeypatch.setattr(hosttrust, "now", lambda: NOW + 366 * DAY)
    refusal("expired", stage, gateway.host, ONE, {}, {"model": str(model)})
    # Whoever sets the clock of the host back behind what it has seen gains nothing.
    monkeypatch.setattr(hosttrust, "now", lambda: NOW - 400 * DAY)
    refusal("not yet valid", stage, gateway.host, ONE, {}, {"model": str(model)})


def test_its_own_site_is_picked_of_several(gateway: Gateway) -> None:
    gateway.told(FIRST)
    north, south = (presented(statement(site=name), FIRST) for name in ("north", "south"))
    assert "several sites (north, south)" in refusal("other site", gateway.shown, north, south)
    assert gateway.shown(south)["site"] == "south"
    assert gateway.shown(north, south) == {**gateway.shown(south), "changed": False}


def test_keys_are_only_added_by_a_key_that_is_trusted(gateway: Gateway) -> None:
    assert gateway.told(FIRST) == {"changed": True, "trusted": [FIRST.public.id]}
    assert gateway.told(FIRST)["changed"] is False
    before = gateway.files()
    assert "Nothing was changed" in refusal("unknown key", gateway.told, SECOND)
    refusal("unknown key", gateway.told, FIRST, SECOND)
    by_stranger = rotation.packed([rotated(STRANGER, SECOND)])
    refusal("unknown key", gateway.told, SECOND, rotations=by_stranger)
    forged = rotation.packed([rotated(FIRST, SECOND, by=replace(STRANGER, number=FIRST.number))])
    refusal("bad signature", gateway.told, SECOND, rotations=forged)
    assert gateway.files() == before
    packed = rotation.packed([rotated(FIRST, SECOND, retires=True)])
    assert gateway.told(SECOND, rotations=packed) == {"changed": True, "trusted": [SECOND.public.id]}
    assert gateway.told(SECOND, rotations=packed)["changed"] is False
    # The key that retired does not come back by itself, nor by a rotation.
    refusal("unknown key", gateway.told, FIRST)
    refusal("unknown key", gateway.told, FIRST, rotations=rotation.packed([rotated(SECOND, FIRST)]))


def test_the_last_key_ends_it_by_its_own_word(gateway: Gateway) -> None:
    gateway.told(FIRST)
    gateway.told(rotations=rotation.packed([rotated(FIRST, None, retires=True)]))
    assert gateway.shown() == {"changed": False, "trusted": []}


@pytest.mark.parametrize("text", ["", "RW", "x" * 56, "../..", "RW" + "A" * 54])
def test_what_is_no_key_is_refused_by_the_host(gateway: Gateway, text: str) -> None:
    given = {"state": gateway.state, "keys": {"k": text}, "rotations": "", "presented": [], "check": False}
    refusal("malformed", trust.trust, given, b"")
    assert not (gateway.host.state / "trust").exists()
