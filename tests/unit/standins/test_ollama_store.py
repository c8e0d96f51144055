"""What the stand-in does on the disk and at its door is what Ollama does: blobs, create, names, statuses."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.standins.ollama import TEMPLATE, Ollama, gguf_file

ABSENT = "sha256:" + "0" * 64


def test_routes_methods_and_bodies(served: Ollama) -> None:
    assert served.ask("GET", "/").text == "Ollama is running"
    assert served.ask("HEAD", "/api/tags").status_code == 200
    assert served.ask("GET", "/api/nothing").status_code == 404
    assert served.ask("GET", "/api/generate").status_code == 405
    empty = served.ask("POST", "/api/show")
    assert (empty.status_code, empty.json()) == (400, {"error": "missing request body"})
    assert served.ask("POST", "/api/show", data=b"{").status_code == 400
    assert served.post("/api/create", {"model": "x", "files": "model.gguf"}).status_code == 400
    assert served.ask("GET", "/api/tags", headers={"Host": "evil.example"}).status_code == 403


def test_a_blob_is_what_its_digest_says(served: Ollama) -> None:
    data = b"some bytes"
    assert served.ask("HEAD", f"/api/blobs/{ABSENT}").status_code == 404
    assert served.ask("HEAD", "/api/blobs/sha256:abc").status_code == 400
    wrong = served.ask("POST", f"/api/blobs/{ABSENT}", data=data)
    assert wrong.status_code == 400
    assert "digest mismatch" in wrong.json()["error"]
    digest = served.upload(data)
    assert served.ask("HEAD", f"/api/blobs/{digest}").status_code == 200
    assert served.ask("POST", f"/api/blobs/{digest}", data=data).status_code == 200
    assert (served.models / "blobs" / digest.replace(":", "-")).read_bytes() == data


def test_a_model_is_made_and_listed(served: Ollama) -> None:
    told = [line["status"] for line in served.create("made", template=TEMPLATE, parameters={"stop": ["<|end|>"]})]
    assert told[0] == "parsing GGUF"
    assert told[-2:] == ["writing manifest", "success"]
    shown = served.post("/api/show", {"model": "made"}).json()
    assert shown["template"] == TEMPLATE
    assert shown["details"]["quantization_level"] == "Q4_0"
    assert '"<|end|>"' in shown["parameters"]
    assert "tokenizer.chat_template" not in shown["model_info"]
    listed = {one["name"]: one for one in served.ask("GET", "/api/tags").json()["models"]}
    manifest = served.models / "manifests/registry.ollama.ai/library/made/latest"
    assert listed["made:latest"]["digest"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert served.ask("DELETE", "/api/delete", {"model": "made"}).status_code == 200
    assert served.ask("DELETE", "/api/delete", {"model": "made"}).status_code == 404
    assert not manifest.exists()


def test_a_variant_keeps_what_it_does_not_change(served: Ollama) -> None:
    served.create("base", template=TEMPLATE, parameters={"stop": ["<|end|>"], "temperature": 1.0})
    served.create("variant", **{"from": "base"}, parameters={"temperature": 0.2}, system="Think.")
    shown = served.post("/api/show", {"model": "variant"}).json()
    assert (shown["system"], shown["template"]) == ("Think.", TEMPLATE)
    assert "temperature                    0.2" in shown["parameters"]
    assert '"<|end|>"' in shown["parameters"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"model": "x"}, "neither 'from' or 'files' was specified"),
        ({"model": "x", "modelfile": "FROM y"}, "neither 'from' or 'files' was specified"),
        ({"model": "not/a/good/na me", "files": {"m.gguf": ABSENT}}, "invalid model name"),
        ({"model": "x", "files": {"../m.gguf": ABSENT}}, "file path must be relative"),
        ({"model": "x", "files": {"m.gguf": ""}}, "invalid digest format"),
        ({"model": "x", "files": {}}, "unknown type"),
    ],
)
def test_what_create_refuses_at_once(served: Ollama, request_: dict[str, object], error: str) -> None:
    answer = served.post("/api/create", request_)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_what_create_finds_out_later_comes_in_the_stream(served: Ollama) -> None:
    wrong = served.upload(b"no GGUF at all")
    for files, error in (({"m.gguf": ABSENT}, "no such file"), ({"m.gguf": wrong}, "not in GGUF format")):
        answer = served.post("/api/create", {"model": "x", "files": files})
        assert answer.status_code == 200
        assert error in json.loads(answer.text.splitlines()[-1])["error"]
    assert "unclosed action" in served.create("x", template="{{ .Messages")[-1]["error"]
    assert 'function "Content" not defined' in served.create("x", template="{{ Content }}")[-1]["error"]
    assert "unexpected EOF" in served.create("x", template="{{ if .Tools }}")[-1]["error"]
    assert "no such host" in served.lines("/api/create", {"model": "x", "from": "absent"})[-1]["error"]
    assert "success" not in {line.get("status") for line in served.lines("/api/pull", {"model": "phi4-mini"})}


@pytest.mark.parametrize("name", ["q4_0", "q5_1"])
def test_quantizations_that_ollama_cannot_make(served: Ollama, name: str) -> None:
    assert "unsupported quantization type" in served.create("x", quantize=name)[-1]["error"]
    assert "only supported for F16" in served.create("x", quantize="q8_0")[-1]["error"]


def test_the_model_that_is_served_need_not_be_the_file_that_was_given(served: Ollama) -> None:
    data = gguf_file.content(quantized=False, note="not by llama-quantize")
    digest = served.upload(data)
    served.lines("/api/create", {"model": "copied", "files": {"model.gguf": digest}})
    manifest = json.loads((served.models / "manifests/registry.ollama.ai/library/copied/latest").read_text())
    assert manifest["layers"][0]["digest"] != digest
    copied = served.models / "blobs" / manifest["layers"][0]["digest"].replace(":", "-")
    assert copied.read_bytes() == gguf_file.content(note="not by llama-quantize")


def test_tensors_are_copied_in_an_order_of_their_own_and_only_once(served: Ollama) -> None:
    given = ("blk.10.b", "output_norm.weight", "blk.2.b", "blk.2.a", "blk.0.z", "a.weight")
    kept = ("a.weight", "output_norm.weight", "blk.0.z", "blk.2.a", "blk.2.b", "blk.10.b")
    digest = served.upload(gguf_file.content(tensors=given, numbers=10, quantized=False))
    served.lines("/api/create", {"model": "ordered", "files": {"model.gguf": digest}})
    wanted = gguf_file.content(tensors=kept, numbers=10)
    layer = json.loads((served.models / "manifests/registry.ollama.ai/library/ordered/latest").read_text())["layers"][0]
    assert (served.models / "blobs" / layer["digest"].replace(":", "-")).read_bytes() == wanted
    again = served.upload(wanted)
    served.lines("/api/create", {"model": "again", "files": {"model.gguf": again}})
    layer = json.loads((served.models / "manifests/registry.ollama.ai/library/again/latest").read_text())["layers"][0]
    assert layer["digest"] == again == "sha256:" + hashlib.sha256(wanted).hexdigest()


def test_a_blob_that_is_not_its_own_cannot_be_used(ollama: Callable[..., Ollama]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a file away")
    one = ollama()
    digest = one.upload(gguf_file.content())
    blobs = one.models / "blobs"
    own, stranger = one.upload(gguf_file.content()[:-1]).replace(":", "-"), digest.replace(":", "-")
    # As user 65532 it could not; as root it may, which is why it is looked at as a process without that right.
    for path in (blobs, *blobs.iterdir()):
        os.chown(path, 65532, 65532)
    os.chown(blobs / stranger, 0, 0)
    # That user may reach neither the checkout nor this folder, below a home of mode 0700: both are reached before.
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from standin_ollama import store; from pathlib import Path; "
        "os.chdir(sys.argv[2]); os.setgroups([]); os.setgid(65532); os.setuid(65532); "
        "store.touch(Path(sys.argv[3])); print('its own', flush=True); store.touch(Path(sys.argv[4]))"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-c", code, str(Path(__file__).parents[2] / "standins"), str(blobs), own, stranger],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "its own\n", done.stderr
    assert "PermissionError: [Errno 1] Operation not permitted" in done.stderr


def test_commands(served: Ollama, tmp_path: Path) -> None:
    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(tmp_path), "OLLAMA_HOST": served.url.removeprefix("http://"), **more}
        return subprocess.run([served.program, *words], env=environment, capture_output=True, text=True, check=False)

    listed = run("list")
    assert listed.returncode == 0
    assert "tiny:latest" in listed.stdout
    assert run("ps").stdout.startswith("NAME")
    assert run("--version").stdout == "ollama version is 0.35.0\n"
    assert run("list", OLLAMA_HOST="127.0.0.1:9").returncode == 1
    unknown = run("remove")
    assert (unknown.returncode, unknown.stderr) == (1, 'Error: unknown command "remove" for "ollama"\n')


def test_without_its_own_programs_it_makes_nothing(ollama: Callable[..., Ollama]) -> None:
    one = ollama()
    (one.program.parents[1] / "lib" / "ollama" / "llama-quantize").chmod(0o644)
    assert "llama-quantize unavailable" in one.create("tiny")[-1]["error"]


def test_old_blobs_without_a_model_are_pruned_unless_it_is_told_not_to(ollama: Callable[..., Ollama]) -> None:
    one = ollama()
    digest = one.upload(b"left over")
    path = one.models / "blobs" / digest.replace(":", "-")
    os.utime(path, (1, 1))
    ollama(OLLAMA_NOPRUNE="1")
    assert path.exists()
    ollama()
    assert not path.exists()
