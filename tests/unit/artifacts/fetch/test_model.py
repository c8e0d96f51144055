"""Fetching against a stand-in hub that speaks the real API: what arrives is whole, or nothing is kept as whole."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from phi4_edge.artifacts.fetch.model import fetch
from phi4_edge.artifacts.store import resources
from phi4_edge.artifacts.store.store import Store
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event
from tests.unit.artifacts.fetch.standin_hub import COMMIT, StandinHub
from tests.unit.artifacts.sample import ROOT, catalog_with, leftovers, prune, run_python

pytestmark = pytest.mark.slow

WEIGHTS = bytes(range(256)) * 100_000  # 25.6 MB: several of the 10 MiB chunks that a download is written in
CHUNK = 10 << 20
CONFIG = json.dumps({"architectures": ["Phi3ForCausalLM"], "auto_map": {"AutoConfig": "evil.py"}}).encode()
FILES = {
    "model.safetensors": WEIGHTS,
    "config.json": CONFIG,
    "tokenizer.json": b'{"model": {}}',
    "tokenizer_config.json": b"{}",
    "LICENSE": b"MIT",
    "README.md": b"not asked for",
    "evil.py": b"raise SystemExit",
    "pytorch_model.bin": b"pickle",
}
WANTED = {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "LICENSE"}
ARTIFACT = "sample/safetensors"


@pytest.fixture
def files() -> dict[str, bytes]:
    return FILES


def test_a_checkpoint_arrives_whole_and_without_code(store: Store, hub: StandinHub) -> None:
    events: list[Event] = []
    digest = fetch(store, catalog_with(), "sample", events.append)
    found = store.verify(ARTIFACT)
    assert {entry.path for entry in found.files} == WANTED
    assert found.digest == digest
    assert found.source == {"kind": "huggingface", "repo": hub.repo, "revision": COMMIT}
    assert found.licence == "MIT"
    assert (store.path(digest) / "model.safetensors").read_bytes() == WEIGHTS
    assert {path.name for path in store.path(digest).iterdir()} == WANTED | {"manifest.json"}
    assert not any((store.root / "partial").iterdir())
    done = [event.done for event in events if event.step == "fetching"]
    assert done == sorted(done)
    assert done[-1] == events[-1].total == sum(len(FILES[name]) for name in WANTED)


def test_what_is_being_fetched_cannot_be_pruned(store: Store, hub: StandinHub) -> None:
    tried: list[str] = []

    def seen(event: Event) -> None:
        if event.step == "fetching" and event.done:
            tried.extend(prune(store, "download"))

    fetch(store, catalog_with(), "sample", seen)
    assert set(tried) == {"another process uses it"}
    assert store.damage(ARTIFACT) == ()


def test_config_json_comes_before_the_weights(store: Store, hub: StandinHub) -> None:
    hub.files["config.json"] = b'{"architectures": ["LlamaForCausalLM"]}'
    with pytest.raises(ArtifactError, match="LlamaForCausalLM, needed Phi3ForCausalLM"):
        fetch(store, catalog_with(), "sample")
    assert not any("safetensors" in request for request in hub.requests)


def test_a_second_fetch_asks_the_hub_for_nothing(store: Store, hub: StandinHub) -> None:
    digest = fetch(store, catalog_with(), "sample")
    asked = len(hub.requests)
    assert fetch(store, catalog_with(), "sample") == digest
    assert len(hub.requests) == asked


def test_a_damaged_artifact_is_fetched_again(store: Store, hub: StandinHub) -> None:
    digest = fetch(store, catalog_with(), "sample")
    os.truncate(store.path(digest) / "model.safetensors", 5)
    assert fetch(store, catalog_with(), "sample") == digest
    assert store.damage(ARTIFACT) == ()


def test_a_cut_connection_is_resumed_within_one_fetch(store: Store, hub: StandinHub) -> None:
    hub.cut_after = [15_000_000]
    fetch(store, catalog_with(), "sample")
    assert store.damage(ARTIFACT) == ()
    assert hub.ranges == [f"bytes={CHUNK}-"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.unit.artifacts.sample import catalog_with
from phi4_edge.artifacts.fetch.model import fetch
from phi4_edge.artifacts.store.store import Store
def die_halfway(event):
    if event.detail == "model.safetensors" and event.done > 12_000_000:
        os.kill(os.getpid(), signal.SIGKILL)
fetch(Store(Path(sys.argv[1])), catalog_with(), "sample", die_halfway)
"""


def test_a_killed_fetch_is_resumed_at_the_last_byte(store: Store, hub: StandinHub) -> None:
    command = run_python(KILLED, store.root, ROOT)
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    assert store.index() == {}
    part = next((store.root / "partial").rglob("model.safetensors.part"))
    held = part.stat().st_size
    assert held == 2 * CHUNK
    hub.requests.clear()
    fetch(store, catalog_with(), "sample")
    assert f"bytes={held}-" in hub.ranges
    assert store.damage(ARTIFACT) == ()
    assert not any(request.startswith("GET") and request.endswith("/config.json") for request in hub.requests)


def test_a_server_that_ignores_ranges_does_not_corrupt_the_file(store: Store, hub: StandinHub) -> None:
    hub.ignore_ranges = True
    hub.cut_after = [15_000_000]
    fetch(store, catalog_with(), "sample")
    assert (store.path(store.digest(ARTIFACT)) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_stale_part_that_is_too_long_starts_anew(store: Store, hub: StandinHub) -> None:
    part = store.root / "partial" / f"sample-{COMMIT}" / "model.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"?" * (len(WEIGHTS) + 5))
    fetch(store, catalog_with(), "sample")
    assert store.damage(ARTIFACT) == ()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "LICENSE"])
def test_content_that_is_not_what_the_revision_holds_is_thrown_away(store: Store, hub: StandinHub, name: str) -> None:
    true = FILES[name]
    hub.tampered[name] = true[:-2] + b"!}" if name == "config.json" else bytes(reversed(true))
    with pytest.raises(ArtifactError, match=rf"{name} of .*found .*needed .*thrown away"):
        fetch(store, catalog_with(), "sample")
    assert store.index() == {}
    hub.tampered.clear()
    fetch(store, catalog_with(), "sample")
    assert store.damage(ARTIFACT) == ()


def test_a_busy_hub_is_asked_again(store: Store, hub: StandinHub) -> None:
    hub.unavailable = 2
    fetch(store, catalog_with(), "sample")
    assert store.damage(ARTIFACT) == ()


def test_a_hub_that_stays_away_gives_its_status_and_the_next_step(store: Store, hub: StandinHub) -> None:
    hub.unavailable = 99
    with pytest.raises(ArtifactError, match=r"answered 503 .*resumes where it stopped"):
        fetch(store, catalog_with(), "sample")


def test_a_revision_the_hub_lacks(store: Store, hub: StandinHub) -> None:
    with pytest.raises(ArtifactError, match="has no revision " + "f" * 40):
        fetch(store, catalog_with("f" * 40), "sample")


def test_a_repository_the_hub_lacks(store: Store, hub: StandinHub) -> None:
    with pytest.raises(ArtifactError, match="no repository nobody/nothing"):
        fetch(store, catalog_with(repo="nobody/nothing"), "sample")


def test_a_mirror_that_answers_with_another_commit(store: Store, hub: StandinHub) -> None:
    hub.served_commit = "e" * 40
    with pytest.raises(ArtifactError, match="from commit " + "e" * 40):
        fetch(store, catalog_with(), "sample")


@pytest.mark.parametrize("revision", ["main", "v1", "1234567", "G" * 40, ""])
def test_anything_but_a_commit_is_refused_before_the_network(store: Store, hub: StandinHub, revision: str) -> None:
    with pytest.raises(ArtifactError, match="40 hex digits"):
        fetch(store, catalog_with(revision), "sample")
    assert hub.requests == []


@pytest.mark.parametrize("name", ["../escape.json", "/etc/x.json", "a/../../b.json", "a\x1b[2J.json"])
def test_hostile_names_from_a_hub_are_refused(store: Store, hub: StandinHub, name: str) -> None:
    hub.files[name] = b"{}"
    with pytest.raises(ArtifactError, match="plain relative"):
        fetch(store, catalog_with(), "sample")
    assert leftovers(store) == []


def test_code_is_never_fetched_even_when_a_catalog_allows_it(store: Store, hub: StandinHub) -> None:
    fetch(store, catalog_with(allow=("*",)), "sample")
    names = {entry.path for entry in store.manifest(ARTIFACT).files}
    assert names == WANTED | {"README.md"}


def test_a_repository_without_safetensors(store: Store, hub: StandinHub) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(ArtifactError, match=r"lacks \*\.safetensors"):
        fetch(store, catalog_with(), "sample")


def test_no_network(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(ArtifactError, match=r"cannot be reached .*HF_ENDPOINT"):
            fetch(store, catalog_with(), "sample")
    assert leftovers(store) == []


def test_too_little_disk_is_seen_before_the_first_file(
    store: Store, hub: StandinHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "disk_free", lambda path: 50_000_000)
    with pytest.raises(ArtifactError, match=r"needs 0\.1 GB of disk"):
        fetch(store, catalog_with(), "sample")
    assert not any("resolve" in request for request in hub.requests)


def test_a_users_token_goes_to_the_hub_and_not_to_its_storage(
    store: Store, hub: StandinHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    fetch(store, catalog_with(), "sample")
    assert "Bearer hf_secretsecret" in hub.tokens
    assert "hf_secretsecret" not in caplog.text + store.index_path.read_text()


def test_without_a_token_none_is_sent_and_nothing_about_this_machine(store: Store, hub: StandinHub) -> None:
    script = (
        "from tests.unit.artifacts.sample import *\n"
        "from phi4_edge.artifacts.fetch.model import fetch; from pathlib import Path\n"
    )
    script += "import sys; fetch(Store(Path(sys.argv[1])), catalog_with(), 'sample')"
    environment = {name: value for name, value in os.environ.items() if "TOKEN" not in name}
    environment["PYTHONPATH"] = str(ROOT)
    subprocess.run([sys.executable, "-c", script, str(store.root)], env=environment, check=True, timeout=60)
    assert hub.tokens == {""}
    assert all("phi4-edge" in agent and "torch" not in agent for agent in hub.agents)


def test_a_model_that_is_not_in_the_catalog(store: Store, hub: StandinHub) -> None:
    with pytest.raises(ArtifactError, match=r"'nothing' is not in the catalog\. Models to fetch: phi-4-mini-instruct"):
        fetch(store, catalog_with(), "nothing")


def test_removing_a_stopped_fetch_frees_its_bytes(store: Store, hub: StandinHub) -> None:
    hub.files["model.safetensors"] = b"x" * 500
    hub.tampered["model.safetensors"] = b"y" * 500
    with pytest.raises(ArtifactError):
        fetch(store, catalog_with(), "sample")
    assert store.remove(ARTIFACT) > 0
    assert not any((store.root / "partial").iterdir())
