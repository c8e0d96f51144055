"""Ollama's library behind a strict stand-in of a registry: what is taken is what was pinned, and is the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.artifacts.convert import gguf_file, library, prover
from phi4_edge.artifacts.convert.library import UnusableError
from phi4_edge.artifacts.fetch import pins
from phi4_edge.artifacts.store.store import Store
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event
from tests.unit.artifacts.convert.published_gguf import (
    LICENCE_TEXT,
    MODEL,
    REPOSITORY,
    TAG,
    TENSORS,
    VARIANT,
    Made,
    catalog,
    content,
    publish,
)
from tests.unit.artifacts.images.standin_registry import StandinRegistry, name_of
from tests.unit.artifacts.sample import leftovers, prune

ARTIFACT = f"sample/{VARIANT}"
RAW = content()


def fetch(store: Store, registry: StandinRegistry, raw: bytes = RAW, **known: Any) -> str:
    return library.fetch(store, catalog(registry.host, raw, **known), "sample", VARIANT)


def name(registry: StandinRegistry) -> str:
    return f"{registry.host}/{REPOSITORY}:{TAG}"


def nothing_kept(store: Store) -> bool:
    return store.digests() == {} and leftovers(store) == [] and pins.read(store) == {}


def test_the_model_alone_is_taken_checked_tried_and_pinned(
    store: Store, registry: StandinRegistry, proved: list[bytes]
) -> None:
    digest = fetch(store, registry)
    found = store.verify(ARTIFACT)
    assert [entry.path for entry in found.files] == ["model.gguf"]
    assert (store.path(digest) / "model.gguf").read_bytes() == RAW == proved[0]
    sha256 = name_of(RAW).removeprefix("sha256:")
    assert found.source["sha256"] == sha256
    assert found.source["licences"] == [name_of(LICENCE_TEXT)]
    assert (found.licence, found.parameters) == ("MIT", {"type": "q4_K_M", "order": "as published"})
    assert pins.read(store) == {name(registry): sha256}
    assert [path.rpartition("/")[2] for path in registry.paths("/v2/")] == [TAG, name_of(RAW)]
    assert not list((store.root / "partial").iterdir())
    assert leftovers(store) == []


def test_what_is_here_is_not_asked_for_again(store: Store, registry: StandinRegistry) -> None:
    digest = fetch(store, registry)
    asked = len(registry.seen)
    assert fetch(store, registry) == digest
    assert len(registry.seen) == asked
    (store.path(digest) / "model.gguf").write_bytes(RAW[:-1])
    assert fetch(store, registry) == digest
    assert store.damage(ARTIFACT) == ()


def test_a_connection_that_breaks_is_taken_up_where_it_stopped(store: Store, registry: StandinRegistry) -> None:
    registry.cut[name_of(RAW)] = 3000
    fetch(store, registry)
    asked = [headers.get("Range") for path, headers in registry.seen if "/blobs/" in path]
    assert asked == [None, "bytes=3000-"]
    assert store.damage(ARTIFACT) == ()


def test_what_a_killed_fetch_left_is_used(store: Store, registry: StandinRegistry) -> None:
    part = store.root / "partial" / f"sample-{VARIANT}" / "model.gguf.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(RAW[:2000])
    fetch(store, registry)
    assert [headers.get("Range") for path, headers in registry.seen if "/blobs/" in path] == ["bytes=2000-"]


def test_what_is_being_fetched_cannot_be_pruned(store: Store, registry: StandinRegistry) -> None:
    tried: list[str] = []

    def seen(event: Event) -> None:
        if event.step == "fetching":
            tried.extend(prune(store, "download"))

    library.fetch(store, catalog(registry.host, RAW), "sample", VARIANT, seen)
    assert tried and set(tried) == {"another process uses it"}


def test_a_file_in_another_order_is_put_in_ollamas(
    store: Store, registry: StandinRegistry, proved: list[bytes]
) -> None:
    raw = content(lambda made: made.tensors.reverse())
    publish(registry, raw)
    digest = fetch(store, registry, raw)
    kept = (store.path(digest) / "model.gguf").read_bytes()
    assert proved == [kept]
    header = gguf_file.read(store.path(digest) / "model.gguf")
    assert header.in_copy_order
    assert [one.name for one in header.tensors] == [name for name, _, _ in TENSORS]
    found = store.manifest(ARTIFACT)
    assert found.parameters["order"] == "llama-quantize's"
    assert found.source["sha256"] == name_of(raw)[7:]
    asked = len(registry.seen)
    assert fetch(store, registry, raw) == digest
    assert len(registry.seen) == asked


def test_another_file_than_the_catalogs_is_an_error_and_no_reason_to_convert(
    store: Store, registry: StandinRegistry
) -> None:
    with pytest.raises(ArtifactError, match=r"needed 0123456789ab…, which this release has pinned") as error:
        fetch(store, registry, sha256="0123456789ab")
    assert not isinstance(error.value, UnusableError)
    assert not registry.paths("/blobs/")
    assert nothing_kept(store)


def test_another_file_than_the_first_time_is_an_error(store: Store, registry: StandinRegistry) -> None:
    """The catalog knows twelve digits; the store knows the rest."""
    store.root.mkdir()
    pins.write(store, {name(registry): name_of(RAW)[7:19] + "0" * 52})
    with pytest.raises(ArtifactError, match=r"to which it was pinned when it was first fetched.*pins\.json") as error:
        fetch(store, registry)
    assert not isinstance(error.value, UnusableError)
    assert store.digests() == {}


def test_another_content_than_its_digest_is_thrown_away(store: Store, registry: StandinRegistry) -> None:
    registry.flip.add(name_of(RAW))
    with pytest.raises(UnusableError, match=r"found sha256 .*needed sha256"):
        fetch(store, registry)
    assert nothing_kept(store)
    assert not list((store.root / "partial").rglob("*.gguf*"))


def test_a_library_that_does_not_answer_names_the_setting(store: Store, registry: StandinRegistry) -> None:
    registry.answers = [503] * 9
    with pytest.raises(UnusableError, match="PHI4_EDGE_OLLAMA_REGISTRY"):
        fetch(store, registry)
    registry.documents.clear()
    registry.answers = []
    with pytest.raises(UnusableError, match=rf"has no .*{TAG}.*PHI4_EDGE_OLLAMA_REGISTRY"):
        fetch(store, registry)
    assert nothing_kept(store)


def test_a_mirror_is_asked_in_its_place_and_the_pin_is_the_same(
    store: Store, registry: StandinRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(library.MIRROR, f"http://{registry.host}/site")
    registry.put(f"site/{REPOSITORY}", TAG, *registry.documents[f"{REPOSITORY}@{TAG}"])
    fetch(store, registry, sha256=name_of(RAW)[7:])
    library.fetch(Store(store.root / "b"), catalog("registry.example.net", RAW), "sample", VARIANT)
    assert list(pins.read(Store(store.root / "b"))) == [f"registry.example.net/{REPOSITORY}:{TAG}"]


def layer(**changes: Any) -> dict[str, Any]:
    return {"mediaType": MODEL, "digest": name_of(RAW), "size": len(RAW), **changes}


@pytest.mark.parametrize(
    "layers",
    [
        [], [layer(), layer()], [layer(mediaType="application/vnd.ollama.image.adapter")], [layer(size=-1)],
        [layer(size="1")], [layer(size=True)], [layer(digest="sha256:../../x")], [layer(digest=5)],
        [layer(mediaType=[])], [layer(), 5], [layer()] * 40, "x", None,
        [layer(size=1 << 50)], [layer(size=len(RAW) // 2)],
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused(store: Store, registry: StandinRegistry, layers: Any) -> None:
    publish(registry, RAW, layers=layers)
    with pytest.raises(UnusableError, match=r"needed (one model|about)"):
        fetch(store, registry)
    assert not registry.paths("/blobs/")
    assert nothing_kept(store)


@pytest.mark.parametrize("kind", ["text/html", "application/vnd.oci.image.index.v1+json"])
def test_a_manifest_of_another_kind_is_refused(store: Store, registry: StandinRegistry, kind: str) -> None:
    raw = json.dumps({"mediaType": kind, "manifests": []}).encode()
    registry.put(REPOSITORY, TAG, kind, raw)
    with pytest.raises(UnusableError):
        fetch(store, registry)


Change = Callable[[Made], object]


def value(key: str, found: Any) -> Change:
    return lambda made: made.values.update({key: found})


def kind_of(tensor: int, kind: str) -> Change:
    return lambda made: made.tensors.__setitem__(tensor, (*made.tensors[tensor][:2], kind))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (value("general.architecture", "llama"), "architecture: found llama, needed phi3"),
        (value("general.file_type", 7), "file type: found 7, needed 15"),
        (lambda made: made.values.pop("general.quantization_version"), r"general\.quantization_version: found none"),
        (lambda made: setattr(made, "version", 9), "cannot be used as a GGUF file"),
        (value("phi3.block_count", 2), "layers: found 2, needed 1"),
        (value("phi3.attention.head_count", 4), "head size: found 64, needed 128"),
        (value("phi3.attention.head_count", 0), "head size: found None, needed 128"),
        (value("phi3.attention.head_count_kv", 2), "KV heads: found 2, needed 1"),
        (value("phi3.rope.dimension_count", 128), "rotary dimensions: found 128, needed 96"),
        (lambda made: made.values.pop("phi3.rope.dimension_count"), "rotary dimensions: found -1, needed 96"),
        (lambda made: made.tensors.__setitem__(1, ("rope_factors_long.weight", (64,), "F32")), r"found \[48, 64\]"),
        (value("phi3.context_length", 4096), "context: found 4096 tokens, needed 131072"),
        (value("tokenizer.ggml.tokens", ["a"]), "vocabulary: found 1, needed 8"),
        (lambda made: made.tensors.pop(3), r"embedding: found None, needed \[256, 8\]"),
        (lambda made: made.tensors.append(("blk.0.more", (256, 9), "Q4_K")), "parameters: found"),
        (kind_of(6, "Q5_K"), "tensors: found 0 of .* numbers in Q4_K, needed most in Q4_K"),
        (kind_of(5, "Q4_0"), "tensors: found Q4_0, needed most in Q4_K"),
    ],
)
def test_another_model_is_refused_whatever_its_digest(
    store: Store, registry: StandinRegistry, proved: list[bytes], change: Change, why: str
) -> None:
    raw = content(change)
    publish(registry, raw)
    with pytest.raises(
        UnusableError, match=f"is not what this release serves as {VARIANT}: .*{why}.*--from safetensors"
    ):
        fetch(store, registry, raw)
    assert nothing_kept(store) and not proved
    assert not list((store.root / "partial").iterdir())


def test_what_does_not_answer_is_not_kept(
    store: Store, registry: StandinRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ArtifactError("it does not generate")

    monkeypatch.setattr(prover, "prove", fails)
    with pytest.raises(ArtifactError, match="does not generate"):
        fetch(store, registry)
    assert nothing_kept(store)


def test_remove_takes_what_a_stopped_fetch_left(store: Store, registry: StandinRegistry) -> None:
    registry.cut[name_of(RAW)] = 3000
    registry.answers = [200, 200, 404]
    with pytest.raises(UnusableError):
        fetch(store, registry)
    assert store.remove(ARTIFACT) == 3000
    assert not list((store.root / "partial").iterdir())
