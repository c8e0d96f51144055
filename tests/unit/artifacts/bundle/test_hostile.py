"""Hostile bundles: `bundle verify`, `provision --bundle` and a transfer to a worker refuse the same; nothing stays."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from phi4_edge import content
from phi4_edge.artifacts.bundle import bundle, whole
from phi4_edge.artifacts.bundle.bundle import Bundle
from phi4_edge.artifacts.convert import wheelhouse
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.errors import ArtifactError
from phi4_edge.main import cli
from tests.unit.artifacts.bundle import hostile_container, hostile_content, hostile_images, hostile_manifest
from tests.unit.artifacts.bundle.full_store import KEY, Content, filled, fleet, image, plan, planned_image
from tests.unit.artifacts.bundle.hostile_run import MEMORY
from tests.unit.artifacts.sample import leftovers

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
NAMES = [*hostile_container.CASES, *hostile_manifest.CASES, *hostile_content.CASES, *hostile_images.CASES]
# What is wrong with these is not part of a transfer: the tar is another one, and says nothing of hosts.
NOT_SENT = {
    "cut-before-end", "byte-added", "padding-not-empty", "artifact-for-nobody", "artifact-needed-and-missing",
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    store = filled(folder / "store")
    bundle.create(store, fleet(store), Content(), folder / "good.tar")
    return folder / "good.tar"


@pytest.fixture(scope="module")
def rows(good: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each case; each ran in a process of its own."""
    work = tmp_path_factory.mktemp("hostile")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.unit.artifacts.bundle.hostile_run", str(good), str(work)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}


def test_the_table_is_long_enough_and_all_of_it_ran(rows: dict[str, Any]) -> None:
    assert len(set(NAMES)) == len(NAMES) >= 70
    assert list(rows) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_bundle_is_refused_and_nothing_stays(rows: dict[str, Any], name: str) -> None:
    for what in ("verify", "bring", "receive"):
        found = rows[name][what]
        if what == "receive" and name in NOT_SENT:
            continue
        assert found["outcome"] == "refused with 3", (what, found)
        assert found["left"] == [], what
        assert found["memory"] < MEMORY, what
        assert "Traceback" not in found["words"]
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e]", found["words"]), found["words"]
    # Both say the same of it.
    said = " ".join(rows[name]["verify"]["words"].split())
    assert " ".join(rows[name]["bring"]["words"].split()) in said


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Content:
    found = Content()
    monkeypatch.setattr(content, "roles", found.roles)
    monkeypatch.setattr(content, "runtimes", found.runtimes)
    return found


def tree(root: Path) -> dict[str, Any]:
    """Every path below `root` with its bytes or its target, locks aside."""
    found = {str(path.relative_to(root)): path for path in sorted(root.rglob("*"))}
    return {
        name: str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for name, path in found.items()
        if not name.startswith("locks")
    }


@pytest.mark.parametrize("name", ["wheel-other-bytes", "image-pin-bypass", "artifact-other-name", "path-up"])
def test_provision_refuses_before_any_host_is_contacted(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: Content, name: str
) -> None:
    from tests.unit.artifacts.bundle.forge import Forge

    cases = {**hostile_manifest.CASES, **hostile_content.CASES, **hostile_images.CASES}
    hostile, store = tmp_path / "case.tar", filled(tmp_path / "store")
    hostile.write_bytes(cases[name](Forge(good)))
    # A host that nobody has: whoever asks for it needs a minute and ends with another code.
    (tmp_path / "hosts.ini").write_text("[gateways]\ngw1 ansible_host=192.0.2.1\n")
    monkeypatch.setenv("PHI4_EDGE_STORE", str(store.root))
    monkeypatch.setenv("PHI4_EDGE_STATE", str(tmp_path / "state"))
    before = tree(store.root)
    done = CliRunner().invoke(cli, ["provision", str(tmp_path / "hosts.ini"), "--bundle", str(hostile), "--yes"])
    assert done.exit_code == 3, done.output
    assert "Traceback" not in done.output
    assert tree(store.root) == before


def test_a_tag_that_the_store_has_pinned_is_not_moved_and_verify_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: Content
) -> None:
    site, origin = filled(tmp_path / "site"), filled(tmp_path / "store")
    image(origin, KEY, b"configuration one", b"a tag that was moved")
    moved = plan(origin, runtime=None, image=planned_image(origin))
    bundle.create(origin, [moved], ours, tmp_path / "moved.tar")
    site.remove("tiny/gguf-q4_0")  # so that something would be brought before the image is looked at
    before = tree(site.root)
    with pytest.raises(ArtifactError, match="the tag was moved"):
        Bundle.open(tmp_path / "moved.tar", ours).bring(site)
    assert tree(site.root) == before
    monkeypatch.setenv("PHI4_EDGE_STORE", str(site.root))
    done = CliRunner().invoke(cli, ["bundle", "verify", str(tmp_path / "moved.tar")])
    assert done.exit_code == 3
    assert "the tag was moved" in " ".join(done.output.split())


def test_a_bundle_that_changes_after_it_was_checked_leaves_nothing(good: Path, tmp_path: Path) -> None:
    path, store = tmp_path / "changing.tar", Store(tmp_path / "store")
    path.write_bytes(good.read_bytes())
    found = Bundle.open(path, Content())
    # The last blob of the file: everything before it was unpacked when it is found.
    path.write_bytes(path.read_bytes().replace(b"GGUFGGUF", b"GGUFGGUf"))
    with pytest.raises(ArtifactError, match="changed while it was read"):
        found.bring(store)
    assert {name: what for name, what in tree(store.root).items() if what is not None} == {}


STEPS: dict[str, tuple[object, str]] = {
    "models and releases": (Store, "adopt"),
    "wheels": (wheelhouse, "adopt"),
    "images": (Images, "adopt"),
    "unpacking": (Bundle, "_unpack"),
}


@pytest.mark.parametrize("where", STEPS)
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("before", [True, False])
def test_a_kill_leaves_nothing_half_adopted(good: Path, tmp_path: Path, where: str, number: int, before: bool) -> None:
    """The process ends without a word, before or after the first or second step of a kind."""
    child = os.fork()
    if child == 0:
        holder, name = STEPS[where]
        setattr(holder, name, ending(getattr(holder, name), number, before))
        Bundle.open(good, Content()).bring(Store(tmp_path))
        os._exit(0)
    os.waitpid(child, 0)
    store = Store(tmp_path)
    assert all(not store.damage(name) for name in store.index())
    assert all(not Images(store).damage(digest) for digest in Images(store).digests().values())
    engine = whole.engine_of(Content())
    assert all(not wheelhouse.faults(path.name, path, engine) for path in store.root.glob("wheelhouses/*"))
    found = Bundle.open(good, Content())
    found.bring(store)
    assert store.digests() == found.digests()
    assert found.lacking(store) == []
    with store.workspace("sweep"):  # what killed runs left is gone as soon as somebody works there
        assert all(name.startswith("sweep-") for name in leftovers(store))


def ending(step: Callable[..., Any], number: int, before: bool) -> Callable[..., Any]:
    """`step`, at whose call of this number the process ends."""
    calls = iter(range(100))

    def stepped(*arguments: Any, **named: Any) -> Any:
        now = next(calls) == number
        if now and before:
            os._exit(9)
        done = step(*arguments, **named)
        if now:
            os._exit(9)
        return done

    return stepped
