"""Bundles: what is packed comes out again, and a byte that changed anywhere is refused before anything is used."""

from __future__ import annotations

import json
import random
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phi4_edge.artifacts import delivery
from phi4_edge.artifacts.bundle import bundle, format, whole
from phi4_edge.artifacts.bundle.bundle import Bundle
from phi4_edge.artifacts.convert import wheelhouse
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.bundle.full_store import (
    CPU,
    ID,
    KEY,
    MODEL,
    Content,
    filled,
    fleet,
    image,
    plan,
    planned_image,
)
from tests.unit.artifacts.sample import leftovers

CATALOG = load_catalog()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store]:
    folder = tmp_path_factory.mktemp("bundle")
    store = filled(folder / "store")
    bundle.create(store, fleet(store), Content(), folder / "fleet.tar")
    return folder / "fleet.tar", store


def test_everything_comes_out_as_it_went_in(made: tuple[Path, Store], tmp_path: Path) -> None:
    path, origin = made
    store = Store(tmp_path / "other")
    found = Bundle.open(path, Content())
    found.bring(store)
    assert store.digests() == origin.digests() == found.digests()
    assert Images(store).digests() == Images(origin).digests() == found.image_digests()
    assert all(not store.damage(name) for name in store.digests())
    program = store.path(store.digest(CPU)) / "bin" / "ollama"
    assert program.stat().st_mode & 0o777 == 0o755
    assert (store.path(store.digest(CPU)) / "link").readlink() == Path("bin/ollama")
    assert (store.root / "wheelhouses" / ID / "manifest.json").is_file()
    assert all(not Images(store).damage(digest) for digest in Images(store).digests().values())
    assert leftovers(store) == []


def test_what_was_brought_is_enough_and_nothing_else_is_asked(made: tuple[Path, Store], tmp_path: Path) -> None:
    path, _ = made
    store = Store(tmp_path)
    Bundle.open(path, Content()).bring(store)
    for wanted in fleet(store)[:2]:
        done = delivery.ensure(store, CATALOG, wanted, Content(), bundle=str(path))
        assert done.made == ()
        assert delivery.missing(store, wanted) == []


def test_a_second_time_leaves_the_store_as_it_is(made: tuple[Path, Store]) -> None:
    path, store = made
    before = {file: file.stat().st_mtime_ns for file in store.root.rglob("*") if file.is_file()}
    Bundle.open(path, Content()).bring(store)
    after = {file: file.stat().st_mtime_ns for file in store.root.rglob("*") if file.is_file()}
    assert {file: time for file, time in after.items() if "locks" not in file.parts} == {
        file: time for file, time in before.items() if "locks" not in file.parts
    }


def test_damage_in_the_store_is_mended_from_the_bundle(made: tuple[Path, Store], tmp_path: Path) -> None:
    path, _ = made
    store = Store(tmp_path)
    found = Bundle.open(path, Content())
    found.bring(store)
    (store.path(store.digest(MODEL)) / "model.gguf").write_bytes(b"short")
    (next((store.root / "wheelhouses" / ID).glob("*.whl"))).write_bytes(b"wrong")
    found.bring(store)
    assert store.damage(MODEL) == ()
    assert not wheelhouse.faults(ID, store.root / "wheelhouses" / ID, whole.engine_of(Content()))


def test_it_is_a_plain_tar_that_depends_on_its_content_alone(made: tuple[Path, Store], tmp_path: Path) -> None:
    path, store = made
    bundle.create(store, reversed(fleet(store)), Content(), tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == path.read_bytes()
    with tarfile.open(path) as tar:
        names = tar.getnames()
        document = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert names[:2] == ["manifest.json", "sbom.cdx.json"]
    assert names[2:] == sorted(set(names[2:]))
    assert document["hosts"]["gw2"] == {
        "engine": "ollama", "service_manager": "compose", "model": MODEL, "runtime": None, "image_delivery": "push",
        "images": [KEY, "ghcr.io/open-webui/open-webui:v1/amd64"],
    }  # fmt: skip
    layers = [line["sha256"] for line in document["files"] if line["size"] == 1500]
    assert len(layers) == 2
    assert len(set(layers)) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_a_changed_byte_anywhere_is_refused(made: tuple[Path, Store], tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(made[0].read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    changed = tmp_path / "changed.tar"
    changed.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"changed|not a bundle|cannot be used|was made by phi4-edge"):
        Bundle.open(changed, Content())


def test_the_file_that_changed_is_named(made: tuple[Path, Store], tmp_path: Path) -> None:
    path, store = made
    content = path.read_bytes()
    digest = store.digest(MODEL)
    (tmp_path / "changed.tar").write_bytes(content.replace(b"GGUFGGUF", b"GGUFGGUf", 1))
    with pytest.raises(
        ArtifactError, match=f"artifacts/{digest}/model.gguf was changed.*Nothing of the bundle was used"
    ):
        Bundle.open(tmp_path / "changed.tar", Content())


def test_a_file_that_was_cut_or_added_to_is_refused(made: tuple[Path, Store], tmp_path: Path) -> None:
    content = made[0].read_bytes()
    cut = tmp_path / "cut.tar"
    for length in [0, 100, 600, *random.Random(7).sample(range(len(content)), 20), len(content) - 1]:
        cut.write_bytes(content[:length])
        with pytest.raises(ArtifactError):
            Bundle.open(cut, Content())
    cut.write_bytes(content + b"\0")
    with pytest.raises(ArtifactError, match="added to"):
        Bundle.open(cut, Content())


def test_other_files_are_no_bundles(tmp_path: Path) -> None:
    other = tmp_path / "other.tar"
    with tarfile.open(other, "w") as tar:
        tar.addfile(tarfile.TarInfo("../escape"))
    with pytest.raises(ArtifactError, match="is not a bundle"):
        Bundle.open(other, Content())
    with pytest.raises(ArtifactError, match="cannot be read"):
        Bundle.open(tmp_path / "missing.tar", Content())
    deep = b"[" * 200_000
    other.write_bytes(format.header("manifest.json", len(deep)) + deep + format.padding(len(deep)))
    with pytest.raises(ArtifactError, match="its manifest cannot be used"):
        Bundle.open(other, Content())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phi4_edge_version": "0.0.1"}, r"made by phi4-edge 0\.0\.1, this is .*install phi4-edge 0\.0\.1"),
        ({"format": "phi4-edge/bundle/2"}, "needed 'phi4-edge/bundle/1'"),
        (
            {
                "files": [
                    {"path": "sbom.cdx.json", "size": 1, "sha256": "0" * 64},
                    {"path": "../../etc/passwd", "size": 1, "sha256": "0" * 64},
                ]
            },
            "in no folder of the store",
        ),
        ({"wheelhouses": ["../x"]}, "is not the name of a wheelhouse"),
        ({"files": [{"path": "a", "size": 1 << 62, "sha256": "0" * 64}]}, "size 4611686018427387904"),
        ({"files": [{"path": "a", "size": 1 << 90, "sha256": "0" * 64}]}, "a number of 28 digits"),
        ({"images": {KEY: {"digest": "sha256:../../x", "path": ""}}}, r"cannot be used \(image "),
        ({"hosts": {"gw9": {}}}, "cannot be used"),
        ({"hosts": {}}, "not what its own digest says"),
        ({"extra": 1}, "not what its own digest says"),
    ],
)
def test_a_manifest_that_was_written_by_somebody_else_is_refused(
    change: dict[str, object], message: str, made: tuple[Path, Store], tmp_path: Path
) -> None:
    with made[0].open("rb") as stream:
        document = json.loads(format.read_contents(stream, "x").encode())
    raw = (json.dumps({**document, **change}, sort_keys=True, indent=1) + "\n").encode()
    forged = tmp_path / "forged.tar"
    forged.write_bytes(format.header("manifest.json", len(raw)) + raw + format.padding(len(raw)))
    with pytest.raises(ArtifactError, match=message):
        Bundle.open(forged, Content())


def test_a_bundle_of_other_files_of_our_own_is_refused(made: tuple[Path, Store]) -> None:
    class Other(Content):
        def runtimes(self) -> dict[str, str]:
            return {"onnx": "f" * 64}

    with pytest.raises(ArtifactError, match="other files of our own"):
        Bundle.open(made[0], Other())


def test_what_a_bundle_lacks_is_named_and_not_fetched(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ArtifactError, match=r"tiny/gguf-q4_0 is neither in site\.tar nor complete in the store"):
        delivery.ensure(store, CATALOG, plan(store), Content(), bundle="site.tar")
    held = filled(tmp_path / "held")
    held.remove(CPU)
    with pytest.raises(ArtifactError, match=rf"{CPU} is neither in site\.tar"):
        delivery.ensure(held, CATALOG, plan(held), Content(), bundle="site.tar")
    Images(held).remove(KEY)
    lacking = plan(held, runtime=None, image=planned_image(held))
    assert delivery.missing(held, lacking) == [KEY]
    with pytest.raises(ArtifactError, match=r"ollama:0\.35\.0/amd64 is neither in site\.tar"):
        delivery.ensure(held, CATALOG, lacking, Content(), bundle="site.tar")


def test_images_that_hosts_pull_are_pinned_and_not_packed(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    wanted = plan(store, runtime=None, image=planned_image(store), image_delivery="registry")
    contents = bundle.create(store, [wanted], Content(), tmp_path / "small.tar")
    assert contents.images[KEY]["path"] == ""
    assert not any(entry.path.startswith("images/") for entry in contents.files)
    other = Store(tmp_path / "other")
    Bundle.open(tmp_path / "small.tar", Content()).bring(other)
    assert Images(other).digests()[KEY] == Images(store).digests()[KEY]
    done = delivery.ensure(other, CATALOG, wanted, Content(), bundle="small.tar")
    assert done.images == {KEY: Images(store).digests()[KEY]}


def test_an_image_that_one_host_is_sent_is_packed_although_another_pulls_it(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    sent = plan(store, runtime=None, image=planned_image(store))
    pulls = replace(sent, host="gw2", image_delivery="registry")
    for number, plans in enumerate(([sent, pulls], [pulls, sent])):
        contents = bundle.create(store, plans, Content(), tmp_path / f"{number}.tar")
        assert contents.images[KEY]["path"] != ""


def test_an_image_of_ours_is_packed_for_hosts_that_pull_all_others(tmp_path: Path) -> None:
    store, ours = filled(tmp_path / "store"), "phi4-edge/onnx:1/amd64"
    image(store, ours, b"configuration three")
    wanted = plan(store, runtime=None, image=planned_image(store, ours), image_delivery="registry")
    contents = bundle.create(store, [wanted], Content(), tmp_path / "ours.tar")
    other = Store(tmp_path / "other")
    assert contents.images[ours]["path"] != "" and delivery.missing(other, wanted)[-1] == ours
    Bundle.open(tmp_path / "ours.tar", Content()).bring(other)
    done = delivery.ensure(other, CATALOG, wanted, Content(), bundle="ours.tar")
    assert done.images == {ours: Images(store).digests()[ours]}


def test_an_image_of_ours_that_was_built_again_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    site, ours = Store(tmp_path / "site"), "phi4-edge/onnx:1/amd64"
    image(site, ours, b"built before")
    image(site, KEY, b"as it was")
    store = filled(tmp_path / "store")
    digest = image(store, ours, b"built again", b"of another base")
    wanted = plan(store, runtime=None, image=planned_image(store, ours))
    bundle.create(store, [wanted], Content(), tmp_path / "ours.tar")
    Bundle.open(tmp_path / "ours.tar", Content()).bring(site)
    assert Images(site).digests()[ours] == f"sha256:{digest}"
    image(store, KEY, b"configuration one", b"a tag that was moved")
    moved = plan(store, runtime=None, image=planned_image(store))
    bundle.create(store, [moved], Content(), tmp_path / "moved.tar")
    with pytest.raises(ArtifactError, match=f"the tag was moved.*model remove {KEY}"):
        Bundle.open(tmp_path / "moved.tar", Content()).bring(site)


def test_a_damaged_store_gives_no_bundle(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    (store.path(store.digest(MODEL)) / "model.gguf").write_bytes(b"GGUf" * 700)
    with pytest.raises(ArtifactError, match=r"model\.gguf is damaged"):
        bundle.create(store, [plan(store)], Content(), tmp_path / "fleet.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
