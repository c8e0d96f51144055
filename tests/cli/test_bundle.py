"""`phi4-edge bundle` and `plan --bundle` as a user meets them; what is packed is in the store already."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.main import cli
from tests.unit.artifacts.bundle.full_store import MODEL, filled

FACTS = Path(__file__).parents[1] / "fixtures" / "hosts" / "n150-8gb.json"
# Settings that lead to what the store holds.
SET = tuple(
    word
    for pair in ("phi4_model=tiny", "phi4_engine=ollama", "phi4_service_manager=systemd", "phi4_quantization=q4_0")
    for word in ("--set", pair)
)
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PHI4_EDGE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PHI4_EDGE_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("PHI4_EDGE_STATE", str(tmp_path / "state"))
    # Nothing may be asked of anybody: whatever is missing fails at once.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    filled(tmp_path / "store")
    return lambda *arguments: CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def made(run: Run, tmp_path: Path) -> Path:
    path = tmp_path / "fleet.tar"
    result = run("bundle", "create", "--facts", FACTS, *SET, "-o", path)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"{path}  ")
    assert "for 1 host" in result.stdout
    return path


def test_a_bundle_says_what_it_holds(run: Run, made: Path) -> None:
    shown = run("bundle", "verify", made)
    assert shown.exit_code == 0
    assert MODEL in shown.stdout
    document = json.loads(run("bundle", "verify", made, "-o", "json").stdout)
    assert document["artifacts"].keys() == {MODEL, "ollama/0.35.0-x86_64-cpu"}
    assert document["hosts"]["n150-8gb"]["engine"] == "ollama"


def test_plans_have_the_digests_of_the_bundle(
    run: Run, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = Store().digest(MODEL)
    monkeypatch.setenv("PHI4_EDGE_STORE", str(tmp_path / "empty"))
    shown = run("plan", "--facts", FACTS, *SET, "--bundle", made, "-o", "json")
    assert json.loads(shown.stdout)["plans"][0]["model"]["digest"] == digest
    assert not (tmp_path / "empty" / "artifacts").exists()


def test_a_changed_bundle_is_refused_by_name(run: Run, made: Path) -> None:
    made.write_bytes(made.read_bytes().replace(b"GGUFGGUF", b"GGUFGGUf", 1))
    for command in (("bundle", "verify", made), ("plan", "--facts", FACTS, *SET, "--bundle", made)):
        result = run(*command)
        assert result.exit_code == 3
        assert "model.gguf was changed" in result.stderr
        assert "Traceback" not in result.stderr


def test_what_cannot_be_packed_has_a_message_and_a_code(run: Run, tmp_path: Path) -> None:
    assert run("bundle", "create", "-o", tmp_path / "x.tar").exit_code == 1
    nothing = run("bundle", "create", "--facts", FACTS.with_name("armv7-board.json"), "-o", tmp_path / "x.tar")
    assert nothing.exit_code == 3
    assert "nothing to pack" in nothing.stderr
    # Nothing of what this plan needs is in the store: the folder is looked at before any of it is fetched.
    missing = run("bundle", "create", "--facts", FACTS, "-o", tmp_path / "no" / "x.tar")
    assert missing.exit_code == 1
    assert f"found no folder {tmp_path / 'no'}" in missing.stderr.replace("\n", " ")
    assert not (tmp_path / "x.tar").exists()


def test_the_models_list_shows_images_and_remove_forgets_them(run: Run) -> None:
    key = "docker.io/ollama/ollama:0.35.0/amd64"
    assert key in run("model", "list").stdout
    assert run("model", "remove", key).exit_code == 0
    assert key not in Images(Store()).index()
    assert run("model", "remove", key).exit_code == 3
