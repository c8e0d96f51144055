"""Fetching images: what arrives is what the digests say, whatever the registry or the way to it does."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.artifacts.images import delivery
from phi4_edge.artifacts.images.held import Held
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent
from tests.unit.artifacts.images.standin_registry import StandinRegistry, name_of, planned, serving
from tests.unit.artifacts.sample import leftovers

NOISE = hashlib.shake_256(b"noise").digest(400_000)
CATALOG = load_catalog()
LAYERS = [{"etc/base": b"below"}, {"srv/large": NOISE}]
REPO = "site/thing"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandinRegistry]:
    monkeypatch.setattr("phi4_edge.artifacts.fetch.http.PAUSES", (0.0, 0.0))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with serving() as standin:
        yield standin


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def ensure(store: Store, registry: StandinRegistry, progress: Progress = silent, **image: Any) -> Held:
    wanted = planned(REPO, **image)
    return delivery.ensure(store, CATALOG, wanted, registry.host, progress)


def large(registry: StandinRegistry) -> str:
    return max(registry.blobs, key=lambda name: len(registry.blobs[name]))


def test_the_right_architecture_is_fetched_once_and_the_tag_is_pinned(store: Store, registry: StandinRegistry) -> None:
    digests = registry.add(REPO, "1.0", LAYERS, ("arm64", "amd64"))
    held = ensure(store, registry)
    assert (held.digest, held.made) == (digests["amd64"], True)
    assert Images(store).digests() == {f"{REPO}:1.0/amd64": digests["amd64"]}
    assert Images(store).damage(held.digest) == ()
    assert leftovers(store) == []
    assert not list((store.root / "partial").iterdir())
    registry.add(REPO, "1.0", [{"other": b"content"}])  # the tag is moved
    registry.seen.clear()
    assert ensure(store, registry).made is False
    assert registry.seen == []


def test_the_layout_names_the_image_for_every_kind_of_docker(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)
    held = ensure(store, registry)
    assert held.folder is not None
    archive = json.loads((held.folder / "docker-manifest.json").read_text())[0]
    assert archive["RepoTags"] == [f"phi4-edge/thing:1.0-{held.digest[7:19]}"]
    assert archive["Config"] == f"blobs/sha256/{held.id[7:]}"
    assert all((held.folder / path).is_file() for path in archive["Layers"])
    index = json.loads((held.folder / "index.json").read_text())["manifests"]
    assert [entry["digest"] for entry in index] == [held.digest]
    assert index[0]["annotations"]["io.containerd.image.name"] == f"docker.io/{archive['RepoTags'][0]}"


def test_an_anonymous_token_is_asked_for_where_the_registry_wants_one(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)
    registry.token = "t-0"
    assert ensure(store, registry).made
    assert registry.paths("/token?service=standin")


def test_stored_credentials_go_to_the_token_service_and_nowhere_else(
    store: Store, registry: StandinRegistry, tmp_path: Path
) -> None:
    registry.add(REPO, "1.0", LAYERS)
    registry.token, registry.user = "t-0", "edge:geheim"
    with pytest.raises(ArtifactError, match="docker login"):
        ensure(store, registry)
    basic = base64.b64encode(b"edge:geheim").decode()
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": basic}}}))
    registry.seen.clear()
    assert ensure(store, registry).made
    shown = [path for path, headers in registry.seen if basic in headers.get("Authorization", "")]
    assert shown and all(path.startswith("/token") for path in shown)
    assert all("geheim" not in path.read_text(errors="replace") for path in store.root.rglob("*.json"))


def test_a_token_is_never_shown_to_the_host_that_a_redirect_leads_to(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)
    registry.token = "t-0"
    with serving() as storage:
        storage.blobs, registry.blobs_at = registry.blobs, storage.host.replace("127.0.0.1", "localhost")
        assert ensure(store, registry).made
        assert len(storage.seen) == 3
        assert all("Authorization" not in headers for _path, headers in storage.seen)


def test_a_connection_that_breaks_is_taken_up_where_it_broke(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)
    registry.cut[large(registry)] = 200_000
    assert ensure(store, registry).made
    assert [headers["Range"] for _path, headers in registry.seen if "Range" in headers] == ["bytes=196608-"]


def test_a_registry_without_ranges_is_asked_for_all_of_it_again(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)
    registry.cut[large(registry)], registry.ranges = 200_000, False
    held = ensure(store, registry)
    assert Images(store).damage(held.digest) == ()


def test_a_killed_fetch_goes_on_with_what_it_had(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)

    def kill(event: Event) -> None:
        if event.detail == "layer 2 of 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure(store, registry, kill)
    registry.seen.clear()
    assert ensure(store, registry).made
    asked = [(path, headers.get("Range")) for path, headers in registry.seen if "/blobs/" in path]
    assert asked == [(f"/v2/{REPO}/blobs/{large(registry)}", "bytes=65536-")]


def test_a_flipped_byte_is_refused_by_name_and_thrown_away(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)
    registry.flip.add(large(registry))
    with pytest.raises(ArtifactError, match=rf"found sha256 \w+….*needed sha256 {large(registry)[7:19]}"):
        ensure(store, registry)
    assert Images(store).digests() == {}
    registry.flip.clear()
    assert ensure(store, registry).made


def test_more_bytes_than_the_manifest_says_are_refused(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)
    registry.extra = b"x" * 100
    with pytest.raises(ArtifactError, match="sends more than"):
        ensure(store, registry)


def test_an_overloaded_registry_is_asked_again_but_not_for_ever(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)
    registry.answers = [503, 200, 429]
    assert ensure(store, registry).made
    registry.answers = [503] * 10
    with pytest.raises(ArtifactError, match=r"after 3 attempts .*it answered 503"):
        ensure(store, registry, tag="2.0")


def test_a_manifest_that_is_not_what_its_digest_says_is_refused(store: Store, registry: StandinRegistry) -> None:
    digest = registry.add(REPO, "1.0", LAYERS)["amd64"]
    kind, raw = registry.documents[f"{REPO}@{digest}"]
    registry.documents[f"{REPO}@{digest}"] = (kind, raw + b" ")
    with pytest.raises(ArtifactError, match="changed it"):
        ensure(store, registry, digest=digest)


def test_a_plan_for_another_digest_is_not_carried_out(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)
    held = ensure(store, registry)
    with pytest.raises(ArtifactError, match=f"{held.digest[:19]}.* plan again"):
        ensure(store, registry, digest="sha256:" + "0" * 64)


def test_the_digest_of_a_list_is_no_pin_for_one_architecture(store: Store, registry: StandinRegistry) -> None:
    digest = registry.add(REPO, "1.0", LAYERS)["amd64"]
    listed = name_of(registry.documents[f"{REPO}@1.0"][1])
    with pytest.raises(ArtifactError, match=f"needed the digest of the manifest for amd64, which is {digest}"):
        ensure(store, registry, digest=listed)


def test_what_the_registry_does_not_have_is_named(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)
    with pytest.raises(ArtifactError, match="no image for linux/arm64; it has linux/amd64"):
        ensure(store, registry, architecture="arm64")
    with pytest.raises(ArtifactError, match=r"has no site/thing|has no 127.*2\.0"):
        ensure(store, registry, tag="2.0")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": {"mediaType": "x", "digest": "sha256:1", "size": 1}}, "without media type and sha256"),
        ({"config": {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": -1}}, "-1 bytes"),
        ({}, "1 to 127 layers"),
        ({"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"}, "v1[+]prettyjws"),
    ],
)
def test_manifests_that_cannot_be_delivered_are_refused(
    store: Store, registry: StandinRegistry, changes: dict[str, Any], said: str
) -> None:
    registry.add(REPO, "1.0", [] if said == "1 to 127 layers" else LAYERS, **changes)
    with pytest.raises(ArtifactError, match=said):
        ensure(store, registry)


def test_a_configuration_for_another_machine_is_refused(store: Store, registry: StandinRegistry) -> None:
    digest = registry.manifest(REPO, LAYERS, "arm64")
    with pytest.raises(ArtifactError, match="found an image for linux/arm64, needed linux/amd64"):
        ensure(store, registry, digest=digest)
    assert Images(store).digests() == {}


def test_a_mirror_with_a_prefix_is_asked_in_place_of_the_registry(store: Store, registry: StandinRegistry) -> None:
    registry.add(f"edge/cache/{REPO}", "1.0", LAYERS)
    wanted = planned(f"ghcr.io/{REPO}")
    held = delivery.ensure(store, CATALOG, wanted, f"http://{registry.host}/edge/cache")
    assert Images(store).index()[held.key]["reference"] == f"ghcr.io/{REPO}:1.0"


def test_a_digest_can_be_pinned_without_fetching(store: Store, registry: StandinRegistry) -> None:
    digests = registry.add(REPO, "1.0", LAYERS)
    held = delivery.pin(store, CATALOG, planned(REPO), registry.host)
    assert (held.digest, held.folder) == (digests["amd64"], None)
    assert registry.paths("/blobs/") == []
    registry.add(REPO, "1.0", [{"other": b"content"}])
    assert delivery.pin(store, CATALOG, planned(REPO), registry.host).digest == digests["amd64"]
    assert ensure(store, registry).digest == digests["amd64"]
    with pytest.raises(ArtifactError, match="it is pushed"):
        delivery.pin(store, CATALOG, planned("phi4-edge/onnx"), registry.host)


def test_layers_that_another_image_has_are_not_fetched_again(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)
    first = ensure(store, registry)
    registry.add(REPO, "2.0", [*LAYERS, {"new": b"one"}])
    registry.seen.clear()
    second = ensure(store, registry, tag="2.0")
    assert len(registry.paths("/blobs/")) == 2  # its configuration and its own layer
    shared = f"blobs/sha256/{large(registry)[7:]}"
    assert first.folder is not None
    assert second.folder is not None
    assert (first.folder / shared).samefile(second.folder / shared)


def test_a_damaged_image_is_named_and_only_what_is_damaged_is_fetched_again(
    store: Store, registry: StandinRegistry
) -> None:
    registry.add(REPO, "1.0", LAYERS)
    held = ensure(store, registry)
    assert held.folder is not None
    path = held.folder / "blobs" / "sha256" / large(registry)[7:]
    damaged = bytearray(path.read_bytes())
    damaged[5] ^= 1
    path.write_bytes(bytes(damaged))
    fresh = Store(store.root)
    assert [line.split(":")[0] for line in Images(fresh).damage(held.digest)] == [str(path)]
    registry.seen.clear()
    assert ensure(fresh, registry).made
    assert len(registry.paths("/blobs/")) == 1
    assert Images(fresh).damage(held.digest) == ()


def test_an_image_is_removed_with_its_pin_and_an_unknown_one_is_refused(
    store: Store, registry: StandinRegistry
) -> None:
    registry.add(REPO, "1.0", LAYERS)
    held = ensure(store, registry)
    assert Images(store).remove(held.key) == held.size
    assert (Images(store).digests(), list((store.root / "images").iterdir())) == ({}, [])
    with pytest.raises(ArtifactError, match="found no image"):
        Images(store).remove(held.key)


def test_an_index_that_cannot_be_read_is_not_taken_for_an_empty_one(store: Store, registry: StandinRegistry) -> None:
    registry.add(REPO, "1.0", LAYERS)
    ensure(store, registry)
    for text in ("{", "[]", '{"images": {"key": {}}}'):
        (store.root / "images.json").write_text(text)
        with pytest.raises(ArtifactError, match="which image each tag was pinned to"):
            Images(store).digests()
