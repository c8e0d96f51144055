"""What the gate makes of an engine's answers and of what Docker says, one step at a time."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core import image_reference
from tests.ansible.host_scripts import ONE, gateport, hostlib, load

gate, gatedocker, gatehttp, gateollama = (
    load("health", name) for name in ("gate", "gatedocker", "gatehttp", "gateollama")
)
StepError = gateollama.StepError
MODEL = "phi-4-mini-instruct"
WEIGHTS = "w" * 64
# What Ollama made of them: the same model in other bytes.
COPY = "c" * 64


class Engine(http.server.BaseHTTPRequestHandler):
    """Answers each path with what the test gave for it."""

    def do_GET(self) -> None:
        status, body = self.server.answers.get(self.path, (404, "404 page not found"))  # type: ignore[attr-defined]
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing: the output belongs to the test."""


@pytest.fixture
def args(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Arguments of the gate for an engine on this machine; `answers` is what it says."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Engine) as server:
        server.answers = {}  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "address": "127.0.0.1", "port": server.server_address[1], "model": MODEL, "release": ONE, "gpu": False,
            "releases": str(tmp_path / "releases"), "answers": server.answers,  # type: ignore[attr-defined]
            "project": "phi4-edge", "gpu_uuid": "GPU-1", "weights": 4 << 30, "held_by_others": 0,
            "generation_seconds": 5.0, "rehearsal": False, "receipt": str(tmp_path / "receipt.json"),
        }  # fmt: skip
        server.shutdown()


def stock(args: dict[str, Any], tmp_path: Path, layer: str = COPY, made_from: str = WEIGHTS) -> None:
    """The release has a store with Ollama's copy of the model, made from what was delivered; the server says so."""
    release = tmp_path / "releases" / ONE
    store, model = tmp_path / "stores" / "s", tmp_path / "models" / "m"
    path = store / "manifests" / gateollama.manifest_of(MODEL)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"layers": [{"mediaType": gateollama.WEIGHTS, "digest": f"sha256:{layer}"}]}))
    model.mkdir(parents=True)
    hostlib.write_record(str(model), [{"path": "model.gguf", "sha256": WEIGHTS}])
    files = [{"path": f"blobs/sha256-{COPY}", "sha256": COPY}]
    document = {"format": hostlib.RECORD_FORMAT, "files": files, "made_from": made_from}
    hostlib.write_json(f"{store}.json", document)
    release.mkdir(parents=True)
    (release / "store").symlink_to(store)
    (release / "model").symlink_to(model)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    args["answers"]["/api/tags"] = (200, {"models": [{"name": f"{MODEL}:latest", "digest": digest}]})


def test_a_store_with_the_delivered_weights_is_the_planned_model(args: dict[str, Any], tmp_path: Path) -> None:
    stock(args, tmp_path)
    gateollama.stored(args)


@pytest.mark.parametrize(
    ("other", "found"),
    [({"layer": "x" * 64}, "other weights than the store was made with"), ({"made_from": "x" * 64}, "made from xxx")],
)
def test_other_weights_are_refused(args: dict[str, Any], tmp_path: Path, other: dict[str, str], found: str) -> None:
    stock(args, tmp_path, **other)
    with pytest.raises(StepError, match=found):
        gateollama.stored(args)


def test_a_server_with_another_store_is_refused(args: dict[str, Any], tmp_path: Path) -> None:
    stock(args, tmp_path)
    args["answers"]["/api/tags"] = (200, {"models": [{"name": MODEL, "digest": "0" * 64}]})
    with pytest.raises(StepError, match=r"needed [0-9a-f]{64} of this release's store"):
        gateollama.stored(args)
    args["answers"]["/api/tags"] = (200, {"models": []})
    with pytest.raises(StepError, match=r"found the models \[\] under /api/tags"):
        gateollama.stored(args)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("phi", "registry.ollama.ai/library/phi/latest"),
        ("phi:3.8b", "registry.ollama.ai/library/phi/3.8b"),
        ("me/phi", "registry.ollama.ai/me/phi/latest"),
        ("hub.example/me/phi:1", "hub.example/me/phi/1"),
    ],
)
def test_where_the_manifest_of_a_model_lies(model: str, path: str) -> None:
    assert gateollama.manifest_of(model) == path


@pytest.mark.parametrize(
    ("gpu", "size", "on_gpu", "message"),
    [
        (False, 100, 0, None),
        (True, 100, 95, None),
        (True, 100, 0, "fell back to the CPU: 0 of 100 bytes"),
        (True, 100, 60, "is partly on the CPU: 60 of 100 bytes"),
        (False, 100, 100, "the plan wants it on the CPU"),
    ],
)
def test_a_model_is_where_the_plan_wants_it(
    args: dict[str, Any], gpu: bool, size: int, on_gpu: int, message: str | None
) -> None:
    args["gpu"] = gpu
    args["answers"]["/api/ps"] = (200, {"models": [{"name": MODEL, "size": size, "size_vram": on_gpu}]})
    if message is None:
        gateollama.resident(args)
        return
    with pytest.raises(StepError, match=message) as caught:
        gateollama.resident(args)
    assert caught.value.step == "residency"


@pytest.mark.parametrize("answer", [(500, {"error": {"message": "no"}}), (200, {"choices": []}), (200, "text")])
def test_an_engine_that_lists_its_model_and_generates_nothing_fails(args: dict[str, Any], answer: Any) -> None:
    args["answers"]["/v1/models"] = (200, {"data": [{"id": MODEL}]})
    args["answers"]["/v1/chat/completions"] = answer
    gatehttp.listed(args)
    with pytest.raises(gatehttp.StepError) as caught:
        gatehttp.generating(args)
    assert caught.value.step == "generation"


def container(**changes: Any) -> dict[str, Any]:
    """What `docker container inspect` says of an engine that runs as planned."""
    return {
        "Id": "c" * 64, "Image": "sha256:" + "a" * 64, "RestartCount": 0,
        "State": {"Status": "running", "Health": {"Status": "healthy"}},
        "Config": {"Labels": {"phi4-edge.release": ONE}},
        "NetworkSettings": {"Ports": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}}, **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "step"),
    [
        ([container()], None),
        ([container(Image="sha256:" + "b" * 64)], "image"),
        ([container(Config={"Labels": {"phi4-edge.release": "r-0"}})], "release"),
        ([container(NetworkSettings={"Ports": {"8000/tcp": None}})], "port"),
        ([], "release"),
        ([container(), container()], "release"),
        ([container(State={"Status": "exited"}, Image="sha256:" + "b" * 64), container()], None),
        ([container(State={"Status": "created"}), container(State={"Status": "exited"})], "release"),
        ([container(State={"Status": "exited"})], None),
    ],
)
def test_the_container_is_the_planned_one(
    args: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: list[Any], step: str | None
) -> None:
    release = tmp_path / "releases" / ONE
    release.mkdir(parents=True)
    (release / "compose.yml").write_text(f"services:\n  engine:\n    image: sha256:{'a' * 64}\n")
    monkeypatch.setattr(gatedocker.hostdocker, "inspect", lambda project: found)
    args["port"] = 8080
    if step is None:
        gatedocker.planned(args)
        return
    with pytest.raises(gatedocker.StepError) as caught:
        gatedocker.planned(args)
    assert caught.value.step == step


@pytest.mark.parametrize(
    ("status", "said", "message"),
    [
        (0, "GPU-1, 4000", None),
        (0, "GPU-1, 12", "fell back to the CPU"),
        (0, "GPU-2, 4000", "the container sees GPU-2, needed GPU-1"),
        (127, 'exec: "nvidia-smi": executable file not found in $PATH', "the container sees no GPU"),
        (0, "No devices were found", "the container sees no GPU"),
    ],
)
def test_a_container_that_serves_from_the_cpu_fails(
    args: dict[str, Any], monkeypatch: pytest.MonkeyPatch, status: int, said: str, message: str | None
) -> None:
    monkeypatch.setattr(gatedocker.hostdocker, "inspect", lambda project: [container()])
    monkeypatch.setattr(gatedocker.hostdocker, "docker", lambda *argv: (status, said))
    if message is None:
        gatedocker.sees_gpu(args)
        gatedocker.uses_gpu(args)
        return
    with pytest.raises(gatedocker.StepError, match=message):
        gatedocker.sees_gpu(args)
        gatedocker.uses_gpu(args)


def test_the_closest_address_gets_what_is_sent_to_it(args: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert gateport.owned("127.0.0.1", args["port"], "phi4-edge.service") is False
    holders = [("1", "7", "python3", "0::/system.slice/phi4-edge.service\n"), ("2", "8", "nc", "0::/user.slice\n")]
    monkeypatch.setattr(gateport, "holders", lambda inodes: [item for item in holders if item[0] in inodes])
    for sockets, ours in (
        ({"1": "127.0.0.1"}, True),
        ({"1": "0.0.0.0", "2": "127.0.0.1"}, False),
        ({"1": "127.0.0.1", "2": "0.0.0.0"}, True),
        ({"1": "::"}, True),
        ({}, False),
    ):
        monkeypatch.setattr(gateport, "listeners", lambda port, sockets=sockets: sockets)
        assert gateport.owned("127.0.0.1", 8080, "phi4-edge.service") is ours


def test_images_are_ours_by_the_name_that_they_are_given() -> None:
    assert gatedocker.hostdocker.OURS == image_reference.OURS


@pytest.mark.parametrize(("job", "passes"), [("1234", True), ("", False)])
def test_a_unit_that_waits_for_docker_or_the_network_is_waited_for(
    job: str, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is inactive until then, like one that ended; only that one has no job."""
    said = [{"ActiveState": "inactive", "SubState": "dead", "Job": job}, {"ActiveState": "active", "Job": ""}]
    monkeypatch.setattr(gate, "shown", lambda unit, properties: said.pop(0))
    monkeypatch.setattr(gate.Pauses, "rest", lambda _pauses: None)
    question = {"unit": "phi4-edge.service", "compose": False}
    if passes:
        assert gate.running(question, time.monotonic() + 60)["ActiveState"] == "active"
        return
    with pytest.raises(gate.StepError, match=r"phi4-edge.service is inactive \(dead\)"):
        gate.running(question, time.monotonic() + 60)


@pytest.mark.parametrize(
    ("group", "release", "found"),
    [
        (f"0::/system.slice/docker-{'a' * 64}.scope\n", ONE, ""),
        (f"0::/docker/{'a' * 64}\n", ONE, ""),
        ("0::/user.slice/user-1000.slice\n", ONE, "what answers there is another program"),
        (f"0::/docker/{'a' * 64}\n", "r-000000000000", "what answers there is another program"),
    ],
)
def test_a_program_that_took_the_port_is_not_the_chat_page(
    args: dict[str, Any], monkeypatch: pytest.MonkeyPatch, group: str, release: str, found: str
) -> None:
    """Whoever came first on the host's network would be shown what people ask."""
    page = container(Id="a" * 64, Config={"Labels": {"phi4-edge.release": release}})
    monkeypatch.setattr(gatedocker.hostdocker, "inspect", lambda project: [page])
    monkeypatch.setattr(gateport, "listeners", lambda port: {"1": "127.0.0.1"})
    monkeypatch.setattr(gateport, "holders", lambda inodes: [("1", "7", "python3", group)])
    monkeypatch.setattr(gatedocker, "owned", gateport.owned)
    assert gatedocker.page_of_another({**args, "webui": {"address": "127.0.0.1", "port": 3000}}) == found
