"""Bundles that were signed as a whole, with minisign itself; and what is handed over to workers."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.artifacts.bundle import bundle
from phi4_edge.artifacts.signing import shelf, statement
from phi4_edge.artifacts.signing.minisign import SignatureRefusedError
from phi4_edge.artifacts.signing.secret import SecretKey
from phi4_edge.artifacts.store.store import Store
from tests.unit.artifacts.bundle.full_store import Content, filled, fleet
from tests.unit.artifacts.signing.site import DAY, NOW, OURS, PLAIN, STRANGER, Site, refused


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, filled(tmp_path / "origin"))


def beside(path: Path, key: SecretKey, comment: str) -> None:
    path.with_name(path.name + ".minisig").write_bytes(key.sign(path.read_bytes(), comment).encode())


DETACHED = {
    "by its time": (f"timestamp:{NOW - DAY}\tfile:fleet.tar\thashed", ""),
    "by its counter": (f"timestamp:{NOW - DAY} counter:9", ""),
    "an older one": (f"timestamp:{NOW - 3 * DAY}", "older"),
    "a lower counter": (f"timestamp:{NOW - DAY} counter:3", "older"),
    "expired by itself": (f"timestamp:{NOW - 366 * DAY}", "expired"),
    "expired as it says": (f"timestamp:{NOW - DAY} expires:{statement.moment(NOW - 1)}", "expired"),
    "from the future": (f"timestamp:{NOW + DAY}", "not yet valid"),
    "without a time": ("signed by hand", "malformed"),
    "with a time that is none": ("timestamp:yesterday", "malformed"),
    "with not a counter": (f"timestamp:{NOW - DAY} counter:-1", "malformed"),
    "with a counter without end": (f"timestamp:{NOW - DAY} counter:9999999999999999", "malformed"),
    "until a time that is none": (f"timestamp:{NOW - DAY} expires:tomorrow", "malformed"),
    "for a site that is none": (f"timestamp:{NOW - DAY} site:../x", "malformed"),
    "for another site": (f"timestamp:{NOW - DAY} site:north", "other site"),
}


@pytest.mark.parametrize("name", DETACHED)
def test_a_bundle_that_was_signed_as_a_whole(site: Site, name: str) -> None:
    comment, reason = DETACHED[name]
    site.trust(OURS)
    first = 5 if "counter:" in comment else NOW - 2 * DAY
    site.gate.keeper.change(
        lambda trust: trust.with_site("default", replace(trust.seen("default"), counter=first, created=NOW - 2 * DAY))
    )
    path = site.made(None)
    beside(path, OURS, comment)
    if reason:
        refused(site, path, reason)
    else:
        assert site.use(path).digests() == site.origin.digests()
        assert site.gate.keeper.read().seen("default").counter in (9, NOW - DAY)


def test_a_whole_bundle_that_changed_or_that_a_stranger_signed_is_refused(site: Site) -> None:
    site.trust(OURS)
    path = site.made(None)
    beside(path, STRANGER, f"timestamp:{NOW - DAY}")
    refused(site, path, "unknown key")
    beside(path, OURS, f"timestamp:{NOW - DAY}")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))
    refused(site, path, "bad signature")


@pytest.mark.skipif(shutil.which("minisign") is None, reason="needs minisign (.ci/host-setup installs it)")
def test_minisign_signs_a_whole_bundle_and_verifies_what_is_in_one(site: Site, tmp_path: Path) -> None:
    from phi4_edge.artifacts.signing import secret

    key, pub = tmp_path / "m.key", tmp_path / "m.pub"
    subprocess.run(["minisign", "-G", "-W", "-p", pub, "-s", key], check=True, capture_output=True)
    ours = secret.read(key, lambda: "")
    site.trust(ours)
    path = site.made(None)
    subprocess.run(
        ["minisign", "-S", "-s", key, "-m", path, "-t", f"timestamp:{NOW - DAY}"], check=True, capture_output=True
    )
    assert site.use(path).digests() == site.origin.digests()
    signed = site.made(replace(PLAIN, keys=(ours,)), "signed.tar")
    with tarfile.open(signed) as archive:
        (tmp_path / "out").mkdir()
        for name in (statement.NAME, statement.SIGNATURE):
            member = archive.extractfile(name)
            assert member is not None
            (tmp_path / "out" / name).write_bytes(member.read())
    shown = subprocess.run(
        ["minisign", "-V", "-m", tmp_path / "out" / statement.NAME, "-p", pub],
        check=False,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    assert "counter:5" in shown.stdout


def test_what_is_handed_over_is_named_in_something_signed(site: Site) -> None:
    site.trust(OURS)
    opened = site.open(site.made())
    there, contents, given = Store(site.folder / "there"), opened.contents, opened.passed.given
    gate = site.gate
    with pytest.raises(SignatureRefusedError) as caught:
        gate.handed(there, contents, [], "what was offered")
    assert caught.value.reason == "unsigned"
    small = site.folder / "small.tar"
    bundle.create(site.origin, fleet(site.origin)[:1], Content(), small, signing=replace(PLAIN, counter=6))
    with pytest.raises(SignatureRefusedError) as caught:
        gate.handed(there, contents, [site.open(small).passed.given], "what was offered")
    assert caught.value.reason == "not named"
    north = site.open(site.made(replace(PLAIN, site="north"), "north.tar")).passed.given
    gate.handed(there, contents, [given, north], "what was offered")
    assert shelf.read(there).keys() == {"default", "north"}
    forged = replace(given, signature=STRANGER.sign(given.statement, "x").encode())
    with pytest.raises(SignatureRefusedError) as caught:
        gate.handed(there, contents, [forged], "what was offered")
    assert caught.value.reason == "unknown key"
