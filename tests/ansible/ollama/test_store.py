"""Ollama's store on a host: made through Ollama's API by the host's script, with the stand-in as the server."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from phi4_edge.data import load_catalog
from tests.ansible.host_scripts import hostlib
from tests.ansible.ollama.store_hosts import NEEDS_ROOT, REQUESTS, Host, hosts, loaded, ollamaserve, started

pytestmark = NEEDS_ROOT


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return loaded(monkeypatch)


@pytest.fixture
def host(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Host]]:
    yield from hosts(script, tmp_path, monkeypatch)


def test_the_store_is_made_once_and_shares_the_pushed_file(script: ModuleType, host: Callable[..., Host]) -> None:
    one = host()
    before = one.gguf.stat()
    assert script.inspect(one.args(), b"")["complete"] is False
    done = script.create(one.args(), b"")
    assert (done["changed"], done["freed"]) == (True, 0)
    assert done["said"][0] == "parsing GGUF"
    assert done["said"][-1] == "success"
    found = script.inspect(one.args(), b"")
    assert found["complete"] is True
    assert found["models"] == done["models"]
    blob = one.store / "blobs" / f"sha256-{one.digest}"
    assert blob.stat().st_ino == before.st_ino
    assert one.gguf.stat().st_mtime_ns == before.st_mtime_ns
    assert not list(one.staging.iterdir())


def test_the_digest_that_is_recorded_is_what_ollama_lists(script: ModuleType, host: Callable[..., Host]) -> None:
    one = host()
    models = script.create(one.args(), b"")["models"]
    for name, digest in models.items():
        manifest = one.store / "manifests" / "registry.ollama.ai" / "library" / name / "latest"
        assert hashlib.sha256(manifest.read_bytes()).hexdigest() == digest


def test_everything_belongs_to_root_and_everybody_reads_it(script: ModuleType, host: Callable[..., Host]) -> None:
    one = host()
    script.create(one.args(), b"")
    for path in one.store.rglob("*"):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 0, 0o755 if path.is_dir() else 0o644)


def test_a_service_can_read_the_store_and_not_write_it(script: ModuleType, host: Callable[..., Host]) -> None:
    one = host()
    script.create(one.args(), b"")
    server = started(one.folder, OLLAMA_MODELS=str(one.store), OLLAMA_NOPRUNE="1", OLLAMA_GO_TEMPLATE="1")
    one.servers.append(server)
    assert {found["name"] for found in server.ask("GET", "/api/tags").json()["models"]} == {
        "base:latest", "variant:latest",
    }  # fmt: skip
    shown = server.post("/api/show", {"model": "variant"}).json()
    assert "tools" in shown["capabilities"]
    assert server.post("/api/generate", {"model": "variant", "prompt": "x", "stream": False}).json()["response"]


@pytest.mark.parametrize("harm", ["change", "remove", "add", "other requests"])
def test_damage_is_found_and_mended(script: ModuleType, host: Callable[..., Host], harm: str) -> None:
    one = host()
    script.create(one.args(), b"")
    manifest = one.store / "manifests/registry.ollama.ai/library/base/latest"
    args = one.args()
    if harm == "change":
        manifest.write_text("{}")
    elif harm == "remove":
        manifest.unlink()
    elif harm == "add":
        (one.store / "blobs" / "sha256-left").write_text("x")
    else:
        args = one.args(made="m2")
    assert script.inspect(args, b"")["complete"] is False
    script.create(args, b"")
    assert script.inspect(args, b"")["complete"] is True


def test_what_ollama_says_is_what_the_user_reads_and_nothing_is_left(
    script: ModuleType, host: Callable[..., Host]
) -> None:
    one = host()
    broken = [{**REQUESTS[0], "template": "{{ if .Tools }}"}]
    with pytest.raises(hostlib.HostError, match=r"Ollama could not make base: template error: .*unexpected EOF"):
        script.create(one.args(requests=broken), b"")
    assert not one.store.exists()
    assert not list(one.staging.iterdir())
    assert script.inspect(one.args(), b"")["complete"] is False


def test_a_model_that_is_no_gguf_is_refused_in_ollama_s_words(script: ModuleType, host: Callable[..., Host]) -> None:
    one = host()
    one.gguf.write_bytes(b"something else")
    with pytest.raises(hostlib.HostError, match="supplied file was not in GGUF format"):
        script.create(one.args(), b"")


def test_a_server_that_dies_is_told_of(script: ModuleType, host: Callable[..., Host]) -> None:
    one = host()
    api = one.start(one.args(), str(one.folder / "models"))
    one.stop()
    with pytest.raises(hostlib.HostError, match="went away while it made base"):
        api.make("/api/create", {"model": "base"}, lambda _status: None)


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    script: ModuleType, host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = host()
    monkeypatch.setattr(script, "free_bytes", lambda _path: 1000)
    with pytest.raises(
        hostlib.HostError, match="not enough disk to make Ollama's store: found 1000 bytes free"
    ) as said:
        script.create(one.args(), b"")
    assert one.servers == []
    # The plan has counted with the same numbers.
    store, size = load_catalog().engines["ollama"].store, one.gguf.stat().st_size
    assert store is not None
    assert f"needed {store.peak(size)} while it is made, and at most {store.spare} afterwards" in str(said.value)


def test_what_an_interrupted_run_left_is_gone(script: ModuleType, host: Callable[..., Host]) -> None:
    one = host()
    half = one.staging / "store-s" / "blobs"
    half.mkdir(parents=True)
    (half / "sha256-half").write_text("x")
    os.utime(one.gguf, (1, 1))  # touched by the server that was killed
    script.create(one.args(), b"")
    assert script.inspect(one.args(), b"")["complete"] is True
    assert not list(one.staging.iterdir())
    record = hostlib.read_record(str(one.model))["model.gguf"]
    assert record["stamp"] == hostlib.stamp(one.gguf.lstat())


def test_a_pull_counts_only_when_its_last_line_says_success(script: ModuleType, host: Callable[..., Host]) -> None:
    one = host()
    library = {"name": "phi4-mini", "digest": "sha256:3c168af1dea0"}
    with pytest.raises(hostlib.HostError, match=r"could not make phi4-mini: pull model manifest: .*no such host"):
        script.create(one.args(library=library), b"")
    assert not one.store.exists()


def test_a_pulled_model_must_have_the_planned_digest(script: ModuleType, host: Callable[..., Host]) -> None:
    one = host()
    folder = one.folder / "fresh" / "manifests" / "registry.ollama.ai" / "library" / "x"
    folder.mkdir(parents=True)
    layer = {"mediaType": script.MODEL_LAYER, "digest": "sha256:" + "a" * 64}
    (folder / "latest").write_text(json.dumps({"layers": [layer], "config": {"digest": "sha256:" + "b" * 64}}))
    fresh = str(one.folder / "fresh")
    script.check_layer(one.args(library={"name": "x", "digest": "sha256:aaaaaa"}), fresh)
    with pytest.raises(hostlib.HostError, match="needed sha256:3c168af1dea0: nothing was kept"):
        script.check_layer(one.args(library={"name": "x", "digest": "sha256:3c168af1dea0"}), fresh)


def test_the_transient_unit_is_closed_in() -> None:
    args = {"engine": "/e", "memory_max": 1, "library": {}, "environment": {}, "image": "",
            "staging": "/var/lib/phi4-edge/staging"}  # fmt: skip
    found = ollamaserve.unit_properties(args, "/fresh")
    assert {"DynamicUser=yes", "IPAddressDeny=any", "NoNewPrivileges=yes", "BindReadOnlyPaths=/e"} <= set(found)
    assert f"RuntimeMaxSec={ollamaserve.LONGEST_SECONDS}" in found
    tops = "TemporaryFileSystem=/opt:ro /var/lib:ro /srv:ro /mnt:ro /media:ro"
    assert tops in found
    for state, more in (("/mnt/data/phi4", ""), ("/data/phi4", " /data/phi4:ro")):
        assert tops + more in ollamaserve.unit_properties({**args, "staging": f"{state}/staging"}, "/fresh")
    newer = {"ExecPaths", "NoExecPaths", "PrivateIPC", "ProcSubset", "ProtectProc", "SocketBindAllow", "SocketBindDeny"}
    assert not newer & {line.partition("=")[0] for line in found}, "systemd-run of JetPack 5 does not know these"
    reaching = ollamaserve.unit_properties({**args, "library": {"name": "x"}}, "/fresh")
    assert "IPAddressDeny=any" not in reaching
