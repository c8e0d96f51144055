"""Release archives of Ollama: fetched once, checked, unpacked by flavour, and refused when they are not as pinned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge.artifacts.fetch import http, ollama, pins
from phi4_edge.artifacts.store.store import Store
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.fetch.ollama_archive import (
    AMD64,
    ARM64,
    BASE,
    CPU,
    CUDA,
    JETPACK,
    JETSON,
    PLAIN,
    archive,
    catalog_pinning,
    published,
    server,
)
from tests.unit.artifacts.fetch.standin_files import StandinFiles
from tests.unit.artifacts.sample import leftovers, prune

# Nothing is pinned in it: the archives here are made up.
CATALOG = catalog_pinning(dict.fromkeys((AMD64, ARM64, JETPACK)))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PAUSES", (0.0, 0.0))
    # Of a connection that breaks, what is short of a whole block is lost.
    monkeypatch.setattr(http, "_BLOCK", 10)


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinFiles]:
    with server() as started:
        monkeypatch.setenv(ollama.URL_SETTING, started.url + "/mirror/")
        yield started


def names(store: Store, artifact: str) -> set[str]:
    found = store.verify(artifact)
    return {entry.path for entry in found.files} | {link.path for link in found.links}


def test_an_archive_that_is_being_unpacked_cannot_be_pruned(tmp_path: Path, origin: StandinFiles) -> None:
    tried = list[str]()
    run = Store(tmp_path)
    ollama.ensure(run, CATALOG, CPU, lambda event: tried.extend(prune(Store(tmp_path), "download")))
    assert tried and set(tried) == {"another process uses it"}
    assert run.damage(CPU) == ()
    del run  # it has ended
    assert prune(Store(tmp_path), "download") == [""]
    assert prune(Store(tmp_path), "release") == [""]


def test_a_cpu_flavour_has_no_gpu_libraries_and_no_links_to_them(tmp_path: Path, origin: StandinFiles) -> None:
    store = Store(tmp_path)
    digest = ollama.ensure(store, CATALOG, CPU)
    assert names(store, CPU) == {
        "bin/ollama", "lib/ollama/llama-server", "lib/ollama/libggml-base.so.0", "lib/ollama/libggml-base.so",
    }  # fmt: skip
    folder = store.path(digest)
    assert (folder / "bin" / "ollama").stat().st_mode & 0o777 == 0o755
    assert (folder / "bin" / "ollama").read_bytes() == PLAIN["bin/ollama"]
    held = store.manifest(CPU)
    assert (held.licence, held.parameters["flavour"]) == ("MIT", "cpu")
    assert held.source["assets"] == {AMD64: hashlib.sha256(origin.files[f"{BASE}/{AMD64}"]).hexdigest()}
    assert held.source["url"].startswith("https://github.com/ollama/ollama/releases/download/v")
    assert leftovers(store) == []


def test_what_is_there_is_not_asked_for_again_and_another_flavour_uses_the_archive(
    tmp_path: Path, origin: StandinFiles
) -> None:
    store = Store(tmp_path)
    first = ollama.ensure(store, CATALOG, CPU)
    asked = len(origin.requests)
    assert ollama.ensure(store, CATALOG, CPU) == first
    assert len(origin.requests) == asked
    ollama.ensure(store, CATALOG, CUDA)
    assert origin.requests.count(f"{BASE}/{AMD64}") == 1
    kept = names(store, CUDA)
    assert {
        "lib/ollama/cuda_v12/libggml-cuda.so",
        "lib/ollama/cuda_v13/libggml-cuda.so",
        "lib/ollama/libold.so",
    } <= kept
    assert not any("vulkan" in name or "mlx" in name for name in kept)
    assert store.remove(CPU) > len(origin.files[f"{BASE}/{AMD64}"])
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_jetson_flavour_is_two_archives_and_only_its_own_gpu_libraries(tmp_path: Path, origin: StandinFiles) -> None:
    store = Store(tmp_path)
    ollama.ensure(store, CATALOG, JETSON)
    kept = names(store, JETSON)
    assert "lib/ollama/cuda_jetpack6/libggml-cuda.so" in kept
    assert "bin/ollama" in kept
    assert not any(name.startswith("lib/ollama/cuda_v") for name in kept)
    assert len(store.manifest(JETSON).source["assets"]) == 2


def test_a_download_goes_on_after_cuts_and_server_errors(tmp_path: Path, origin: StandinFiles) -> None:
    origin.cut_after = [100, 50]
    origin.unavailable = 1
    store = Store(tmp_path)
    ollama.ensure(store, CATALOG, CPU)
    assert origin.ranges == ["bytes=100-", "bytes=150-"]
    store.verify(CPU)


def test_a_stopped_download_goes_on_in_the_next_run(tmp_path: Path, origin: StandinFiles) -> None:
    origin.cut_after = [100, 0, 0]
    store = Store(tmp_path)
    with pytest.raises(ArtifactError, match=r"cannot be had after 3 attempts.*resumes where it stopped"):
        ollama.ensure(store, CATALOG, CPU)
    assert leftovers(store) == []
    ollama.ensure(store, CATALOG, CPU)
    assert origin.ranges[-1] == "bytes=100-"


def test_a_server_without_ranges_is_read_from_the_start(tmp_path: Path, origin: StandinFiles) -> None:
    origin.ignore_ranges = True
    origin.cut_after = [100]
    store = Store(tmp_path)
    ollama.ensure(store, CATALOG, CPU)
    store.verify(CPU)


def test_first_bytes_of_another_file_are_thrown_away(tmp_path: Path, origin: StandinFiles) -> None:
    store = Store(tmp_path)
    part = tmp_path / "partial" / ollama.partial_name(CPU) / f"{AMD64}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"something else")
    ollama.ensure(store, CATALOG, CPU)
    store.verify(CPU)
    part.write_bytes(origin.files[f"{BASE}/{AMD64}"] + b"more than all")
    store.remove(CPU)
    ollama.ensure(store, CATALOG, CPU)
    store.verify(CPU)


@pytest.mark.parametrize("damage", ["flipped", "page", "cut"])
def test_a_wrong_archive_is_refused_and_not_kept(damage: str, tmp_path: Path, origin: StandinFiles) -> None:
    right = origin.files[f"{BASE}/{AMD64}"]
    wrong = {
        "flipped": right[:50] + bytes([right[50] ^ 1]) + right[51:],
        "page": b"\n<!DOCTYPE html><title>log in</title>",
        "cut": right[:-10],
    }
    origin.files[f"{BASE}/{AMD64}"] = wrong[damage]
    store = Store(tmp_path)
    expected = "found a web page" if damage == "page" else "found sha256"
    with pytest.raises(ArtifactError, match=rf"{expected}.*needed sha256 {hashlib.sha256(right).hexdigest()[:12]}"):
        ollama.ensure(store, CATALOG, CPU)
    assert store.digests() == {}
    assert [path for path in (tmp_path / "partial").rglob("*") if path.is_file()] == []


def test_a_release_that_changed_after_it_was_pinned_is_refused(tmp_path: Path, origin: StandinFiles) -> None:
    store = Store(tmp_path)
    ollama.ensure(store, CATALOG, CPU)
    store.remove(CPU)
    origin.files = published({AMD64: archive({**PLAIN, "bin/ollama": b"other"}, {})})
    with pytest.raises(ArtifactError, match=r"was pinned when it was first fetched.*pins\.json"):
        ollama.ensure(store, CATALOG, CPU)
    assert store.digests() == {}


def test_the_catalogs_hash_goes_before_the_list(tmp_path: Path, origin: StandinFiles) -> None:
    right = hashlib.sha256(origin.files[f"{BASE}/{AMD64}"]).hexdigest()
    store = Store(tmp_path)
    ollama.ensure(store, catalog_pinning({AMD64: right}), CPU)
    assert f"{BASE}/sha256sum.txt" not in origin.requests
    with pytest.raises(ArtifactError, match="needed sha256 000000000000"):
        ollama.ensure(store, catalog_pinning({AMD64: "0" * 64}), CPU)


def test_an_operators_own_hash_goes_before_the_catalogs(
    tmp_path: Path, origin: StandinFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = hashlib.sha256(origin.files[f"{BASE}/{AMD64}"]).hexdigest()
    catalog = catalog_pinning({AMD64: "0" * 64})
    monkeypatch.setenv(pins.SHA256_SETTING, f"{AMD64}={right}")
    store = Store(tmp_path)
    digest = ollama.ensure(store, catalog, CPU)
    assert ollama.ensure(store, catalog, CPU) == digest
    monkeypatch.setenv(pins.SHA256_SETTING, "yes")
    with pytest.raises(ArtifactError, match="needed <asset>="):
        ollama.ensure(store, catalog, CPU)


def test_what_an_archive_unpacks_to_is_pinned_and_nothing_else_is_brought(tmp_path: Path, origin: StandinFiles) -> None:
    right = hashlib.sha256(origin.files[f"{BASE}/{AMD64}"]).hexdigest()
    store = Store(tmp_path)
    digest = ollama.ensure(store, catalog_pinning({AMD64: right}), CPU)
    pins.require_same_tree(store, {CPU: digest, "tiny/gguf-q4_0": "0" * 64})
    store.remove(CPU)  # what it was is still known
    with pytest.raises(ArtifactError, match=rf"found {CPU} with the content 000000000000.*needed {digest[:12]}"):
        pins.require_same_tree(store, {CPU: "0" * 64})


def test_the_catalogs_digest_of_what_is_unpacked_is_held(tmp_path: Path, origin: StandinFiles) -> None:
    right = hashlib.sha256(origin.files[f"{BASE}/{AMD64}"]).hexdigest()
    digest = ollama.ensure(Store(tmp_path / "a"), catalog_pinning({AMD64: right}), CPU)
    assert ollama.ensure(Store(tmp_path / "b"), catalog_pinning({AMD64: right}, {CPU: digest}), CPU) == digest
    with pytest.raises(ArtifactError, match=f"holds {digest[:12]}…, the catalog's archives 000000000000"):
        ollama.ensure(Store(tmp_path / "c"), catalog_pinning({AMD64: right}, {CPU: "0" * 64}), CPU)
    assert not (tmp_path / "c" / "artifacts").exists()


def test_a_list_without_the_archive_and_a_missing_archive_are_named(tmp_path: Path, origin: StandinFiles) -> None:
    listed = origin.files.pop(f"{BASE}/sha256sum.txt")
    with pytest.raises(ArtifactError, match=r"sha256sum\.txt: answered 404.*PHI4_EDGE_OLLAMA_URL"):
        ollama.ensure(Store(tmp_path), CATALOG, CPU)
    origin.files[f"{BASE}/sha256sum.txt"] = b"<html>hello</html>"
    with pytest.raises(ArtifactError, match=f"no line for {AMD64}"):
        ollama.ensure(Store(tmp_path), CATALOG, CPU)
    origin.files[f"{BASE}/sha256sum.txt"] = listed
    del origin.files[f"{BASE}/{AMD64}"]
    with pytest.raises(ArtifactError, match=f"{AMD64}: answered 404"):
        ollama.ensure(Store(tmp_path), CATALOG, CPU)


@pytest.mark.parametrize(
    "artifact", ["ollama/0.0.1-x86_64-cpu", "ollama/latest", "ollama/../x", CPU.replace("x86_64", "riscv64")]
)
def test_an_unknown_release_is_refused_with_those_that_there_are(artifact: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"not a release in the catalog; it has .*{CPU}"):
        ollama.ensure(Store(tmp_path), CATALOG, artifact)


def test_an_address_that_is_no_web_address_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ollama.URL_SETTING, "file:///etc")
    with pytest.raises(ArtifactError, match="needed an address that starts with https"):
        ollama.ensure(Store(tmp_path), CATALOG, CPU)


def test_damaged_pins_are_not_forgotten_silently(tmp_path: Path, origin: StandinFiles) -> None:
    (tmp_path / "pins.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(ArtifactError, match=r"pins\.json cannot be used"):
        ollama.ensure(Store(tmp_path), CATALOG, CPU)
