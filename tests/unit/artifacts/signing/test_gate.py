"""Bundles that are signed: what is accepted, what is refused, and that nothing is used of what is refused."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.artifacts.bundle import bundle
from phi4_edge.artifacts.signing import judge, rotation, shelf, statement
from phi4_edge.artifacts.signing.making import Signing
from phi4_edge.artifacts.signing.minisign import SignatureRefusedError
from phi4_edge.artifacts.signing.rotation import Rotation, Signed
from phi4_edge.artifacts.signing.secret import SecretKey
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.bundle.full_store import ID, KEY, MODEL, Content, filled, fleet
from tests.unit.artifacts.signing.site import CODE, DAY, NEXT, NOW, OURS, PLAIN, STRANGER, Site, refused, rewrite


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, filled(tmp_path / "origin"))


def test_a_signed_bundle_is_used_and_says_who_signed_it(site: Site) -> None:
    site.trust(OURS)
    path = site.made()
    opened = site.open(path)
    assert opened.passed.note == (
        f"signed by {OURS.public.id} (release), site default, counter 5, holds until {statement.moment(NOW + 30 * DAY)}"
    )
    store = site.use(path)
    assert store.digests() == site.origin.digests()
    assert site.gate.keeper.read().seen("default").counter == 5
    assert shelf.read(store)["default"].statement == opened.passed.given.statement
    site.use(path)  # the same once more is no step back


def test_its_statement_names_all_that_a_gateway_is_given(site: Site) -> None:
    opened = site.open(site.made())
    assert opened.passed.statement is not None
    names = opened.passed.statement.names
    assert names.artifacts == site.origin.digests()
    assert names.images[KEY]["digest"] == Images(site.origin).digests()[KEY]
    assert names.wheelhouses.keys() == {ID}
    assert names.code == CODE
    weights = next(file for file in site.origin.manifest(MODEL).files if file.path.endswith(".gguf"))
    assert names.weights == (weights.sha256,)


def test_the_same_content_signed_or_not_has_the_same_manifest_and_blobs(site: Site) -> None:
    members = []
    for signing, name in ((None, "a.tar"), (PLAIN, "b.tar")):
        with tarfile.open(site.made(signing, name)) as archive:
            members.append({one.name: archive.extractfile(one).read() for one in archive})  # type: ignore[union-attr]
    assert members[1].keys() - members[0].keys() == {statement.NAME, statement.SIGNATURE}
    assert {name: members[1][name] for name in members[0]} == members[0]


CASES: dict[str, tuple[Signing | None, str]] = {
    "nobody": (None, "unsigned"),
    "a stranger": (replace(PLAIN, keys=(STRANGER,)), "unknown key"),
    "expired": (replace(PLAIN, created=NOW - 9 * DAY, expires=NOW - DAY), "expired"),
    "not yet": (replace(PLAIN, created=NOW + DAY), "not yet valid"),
    "a lower counter": (replace(PLAIN, counter=4), "older"),
    "the same counter for something else": (replace(PLAIN, expires=NOW + 31 * DAY), "older"),
    "another site": (replace(PLAIN, site="north"), "other site"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_to_be_used_leaves_nothing(site: Site, name: str) -> None:
    site.trust(OURS)
    site.use(site.made(name="first.tar"))
    shutil.rmtree(site.folder / "here")
    before = site.gate.keeper.read()
    signing, reason = CASES[name]
    refused(site, site.made(signing), reason)
    assert site.gate.keeper.read() == before


@pytest.mark.parametrize("name", [statement.NAME, statement.SIGNATURE])
@pytest.mark.parametrize(
    "change", [lambda raw: raw[:-2] + b"x\n", lambda raw: raw + b"\n", lambda raw: b"", lambda raw: raw * 2]
)
def test_a_member_that_was_changed_is_refused(site: Site, name: str, change: Callable[[bytes], bytes]) -> None:
    site.trust(OURS)
    path = site.made()
    rewrite(path, name, change)
    with pytest.raises(ArtifactError):
        site.use(path)
    assert not (site.folder / "here").exists()


def test_the_statement_of_another_bundle_does_not_count(site: Site) -> None:
    site.trust(OURS)
    one, other = site.made(), site.folder / "other.tar"
    bundle.create(site.origin, fleet(site.origin)[:1], Content(), other, signing=replace(PLAIN, counter=6))
    with tarfile.open(other) as archive:
        texts = {name: archive.extractfile(name).read() for name in (statement.NAME, statement.SIGNATURE)}  # type: ignore[union-attr]
    for name, text in texts.items():
        rewrite(one, name, lambda _raw, text=text: text)  # type: ignore[misc]
    refused(site, one, "bad signature")


def test_without_keys_it_is_as_before_and_says_so(site: Site) -> None:
    assert "not signed" in site.open(site.made(None)).passed.note
    opened = site.open(site.made())
    assert f"signed by {OURS.public.id}, which is not trusted here" in opened.passed.note
    store = site.use(site.made())
    assert store.digests() == site.origin.digests()
    # A gateway that trusts the key is shown it all the same.
    assert shelf.read(store)["default"].signature
    assert site.gate.keeper.read().sites == {}


def test_without_keys_a_statement_must_still_be_about_this_bundle(site: Site) -> None:
    path = site.made()
    rewrite(path, statement.SIGNATURE, lambda _raw: STRANGER.sign(b"x", "x").encode())
    refused(site, path, "bad signature")


def rotated(old: SecretKey, new: SecretKey, retires: bool = True) -> Signed:
    made = Rotation(old.public.id, new.public, retires, NOW - DAY, NOW + DAY)
    return Signed(made.encode(), old.sign(made.encode(), made.comment).encode())


def test_keys_change_with_a_bundle(site: Site) -> None:
    site.trust(OURS)
    path = site.made(replace(PLAIN, keys=(NEXT,), rotations=(rotated(OURS, NEXT),)))
    assert [one.key for one in site.gate.keeper.read().keys] == [OURS.public]
    site.open(path)  # bundle verify changes nothing
    assert [one.key for one in site.gate.keeper.read().keys] == [OURS.public]
    site.use(path)
    assert [one.key for one in site.gate.keeper.read().keys] == [NEXT.public]
    shutil.rmtree(site.folder / "here")
    refused(site, site.made(replace(PLAIN, counter=9), "late.tar"), "unknown key")
    assert rotation.unpacked(site.open(path).passed.given.rotations, "x")


def test_more_than_one_key_signs(site: Site) -> None:
    site.trust(NEXT)
    site.use(site.made(replace(PLAIN, keys=(OURS, NEXT))))
    with pytest.raises(ArtifactError, match="different keys"):
        site.made(replace(PLAIN, keys=(OURS, OURS)))
    with pytest.raises(ArtifactError, match="0 keys"):
        site.made(replace(PLAIN, keys=()))


def test_two_runs_cannot_both_go_back(site: Site) -> None:
    site.trust(OURS)
    old, new = site.open(site.made()), site.open(site.made(replace(PLAIN, counter=6), "new.tar"))
    store = Store(site.folder / "here")
    site.gate.remember(store, new.passed, "new.tar")
    with pytest.raises(SignatureRefusedError, match="is older than what was accepted"):
        site.gate.remember(store, old.passed, "fleet.tar")
    assert judge.unsigned(site.gate.keeper.read(), "x").reason == "unsigned"
