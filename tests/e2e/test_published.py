"""A controller that has nothing gets the model as it is published, ties it and has it served: PyTorch is nowhere.

A hub stands in, with the tiny model in the published form, and the catalog of this version pins those files. The
builder makes them, and the model whose answers are compared; its environment is in another store.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi4_edge.artifacts.convert import environment
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.store.store import Store
from tests.convert import published
from tests.convert.answers import generate
from tests.e2e import other_version
from tests.e2e.fleet import Fleet, Fleets
from tests.e2e.gateway import Cli, Gateway
from tests.unit.artifacts.fetch.standin_hub import COMMIT, REPO, StandinHub

pytestmark = pytest.mark.e2e

MODEL = "phi-4-mini-instruct"
FOLDER = "cpu/int4"
PROMPTS = ("Hello", "What is 2+2?", "온도가 왜 오르나요?", "The pump stopped again.")
TOKENS = 48


@dataclasses.dataclass(frozen=True)
class Exports:
    """The tiny model as the builder exports it: files of the published form, and the folder of the shared one."""

    untied: Mapping[str, bytes]
    shared: Path
    converter: Converter


@pytest.fixture(scope="module")
def exports(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    ready.run("model", "tiny", "--to", "safetensors").expect(0)
    store = Store(ready.store)
    untied = published.export(store, tmp_path_factory.mktemp("untied"))
    shared = published.export(store, tmp_path_factory.mktemp("shared"), shared_embeddings="true")
    # Where onnxruntime-genai's own tools look for it.
    (shared / "chat_template.jinja").write_text(published.template(shared))
    files = {path.name: path.read_bytes() for path in untied.iterdir()}
    return Exports(files, shared, environment.ensure(store))


@pytest.fixture(scope="module")
def hub(exports: Exports) -> Iterator[StandinHub]:
    with StandinHub({f"{FOLDER}/{name}": content for name, content in exports.untied.items()}) as running:
        yield running
        assert running.violations == []


def with_catalog(folder: Path, files: Mapping[str, bytes]) -> dict[str, str]:
    """Environment in which the command is a version that pins `files` as the published model."""
    made = other_version.copied(folder)
    path = folder / "cli" / "phi4_edge" / "data" / "catalog.yml"
    catalog: dict[str, Any] = yaml.safe_load(path.read_text())
    pinned = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    catalog["models"][MODEL]["published"] = {"repo": REPO, "revision": COMMIT, "path": FOLDER, "files": pinned}
    path.write_text(yaml.safe_dump(catalog, sort_keys=False))
    return made


@pytest.fixture(scope="module")
def fleet(
    fleets: Fleets, exports: Exports, hub: StandinHub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """One gateway, and the command with an empty store: nothing but wheels, which are the same for every model."""
    folder = tmp_path_factory.mktemp("published")
    with fleets.lend(folder, 1) as found:
        store = folder / "store"
        store.mkdir()
        (store / "wheelhouses").symlink_to(found.cli.store / "wheelhouses")
        extra = {**found.cli.extra, **with_catalog(folder / "version", exports.untied), "HF_ENDPOINT": hub.url}
        # Its own inventory says which model; the lab's says tiny.
        variables = {name: {"phi4_model": MODEL, "phi4_engine": "onnx"} for name in found.names}
        lent = dataclasses.replace(found, cli=dataclasses.replace(found.cli, store=store, extra=extra))
        lent.variables = variables
        lent.write()
        yield lent


@pytest.fixture
def gateways(fleet: Fleet) -> list[Gateway]:
    return [fleet.host(name) for name in fleet.names]


def test_fetched_tied_and_served_without_pytorch(
    fleet: Fleet, gateways: list[Gateway], exports: Exports, hub: StandinHub
) -> None:
    (host,) = gateways
    done = fleet.run("provision", "--yes", "--output", "json").expect(0)
    assert done.outcomes() == {host.name: "done"}

    store = Store(fleet.cli.store)
    assert set(store.digests()) == {f"{MODEL}/onnx-published", f"{MODEL}/onnx-int4"}
    found = store.verify(f"{MODEL}/onnx-int4", deep=True)
    assert (found.source["artifact"], found.source["repo"]) == (f"{MODEL}/onnx-published", hub.repo)
    assert host.receipt()["model"]["digest"] == found.digest
    (prover,) = (store.root / "environments").iterdir()
    assert prover.name.startswith("onnxruntime-")
    assert not [path for path in store.root.rglob("torch") if path.is_dir()]
    assert host.sh("find / -xdev -type d -name torch").strip() == ""
    # The catalog says it all, and every file was asked for under its pinned revision.
    assert not [asked for asked in hub.requests if "/api/" in asked]

    requests = [(prompt, TOKENS, False) for prompt in PROMPTS]
    expected = [answer["text"] for answer in generate(exports.converter, exports.shared, *requests)]
    answers = [host.chat(prompt, TOKENS)["choices"][0]["message"]["content"] for prompt in PROMPTS]
    assert [answer.strip() for answer in answers] == [text.strip() for text in expected]
    assert len(set(answers)) == len(PROMPTS)

    hub.requests.clear()
    again = fleet.run("provision", "--yes", "--output", "json").expect(0)
    assert again.result["changed"] == 0
    assert hub.requests == []
