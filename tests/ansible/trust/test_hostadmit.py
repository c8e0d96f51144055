"""What a release is made of, held to what was signed: engines, wheels, stores, images, programs."""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path

import pytest

from phi4_edge import content
from tests.ansible.host_scripts import ONE, TWO, engine, hostadmit, hosttrust, load, stage
from tests.ansible.trust.gateway import DIGEST, ID, Gateway, naming, refusal
from tests.ansible.trust.statements import FIRST, NOW

sys.path.insert(0, str(content.roles() / "ollama" / "files"))
create = load("ollama", "create")
COMPOSE = f"name: phi4-edge\nservices:\n  engine:\n    image: {ID}\n    volumes: []\n"


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.setattr(hosttrust, "now", lambda: NOW)
    return Gateway(tmp_path)


def test_an_engine_that_was_pushed_and_its_links(gateway: Gateway) -> None:
    root = gateway.host.root / "engines" / "ollama-1"
    digest = gateway.tree(root, {"bin/ollama": b"program"}, {"link": "bin/ollama"})
    gateway.told(FIRST)
    gateway.shown(naming(digest))
    links = {"engine": "../../engines/ollama-1"}
    stage(gateway.host, ONE, {}, links)
    (root / "another").symlink_to("bin/ollama")
    refusal("not named", stage, gateway.host, ONE, {}, links)
    (root / "another").unlink()
    (root / "bin" / "ollama").chmod(0o644)
    refusal("not named", stage, gateway.host, ONE, {}, links)


def test_an_engine_that_was_built_is_as_good_as_its_wheels_and_our_package(gateway: Gateway) -> None:
    root = gateway.host.root / "engines" / "onnx-1"
    gateway.tree(root, {"lib/module.py": b"x = 1\n"}, made_of={"wheels": "a" * 64, "code": "b" * 64})
    gateway.told(FIRST)
    links = {"engine": "../../engines/onnx-1"}
    gateway.shown(naming(wheelhouses={"w": "a" * 64}, code={"phi4_engine": "c" * 64}))
    assert "our own package" in refusal("not named", stage, gateway.host, ONE, {}, links)
    gateway.shown(naming(wheelhouses={"w": "a" * 64}, code={"phi4_engine": "b" * 64}, counter=8))
    stage(gateway.host, ONE, {}, links)
    (root / "lib" / "module.py").write_bytes(b"x = 2\n")
    refusal("not named", stage, gateway.host, ONE, {}, links)


def package(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def test_no_wheel_is_run_that_nobody_signed(gateway: Gateway) -> None:
    wheels = gateway.host.state / "staging" / "wheels-1"
    digest = gateway.tree(wheels, {"pip-1-py3-none-any.whl": b"wheel", "requirements.txt": b"x==1\n"})
    given = {"engine": str(gateway.host.root / "engines" / "e"), "wheelhouse": str(wheels), "python": "3.1"}
    payload = package({"phi4_engine/__init__.py": b"x = 1\n"})
    gateway.told(FIRST)
    gateway.shown(naming(wheelhouses={"w": "f" * 64}))
    assert "the wheels" in refusal("not named", engine.build, given, payload)
    code = hostadmit.package({"phi4_engine/__init__.py": b"x = 1\n"})
    gateway.shown(naming(wheelhouses={"w": digest}, code={"phi4_engine": code}, counter=8))
    assert engine.sources(given, payload) == {"code": code, "wheels": digest}
    refusal("not named", engine.sources, given, package({"phi4_engine/__init__.py": b"x = 2\n"}))
    assert not (gateway.host.root / "engines").exists()


def test_our_own_package_has_the_digest_that_the_controller_signs() -> None:
    source = content.root() / content.ENGINE_PACKAGE
    files = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }  # fmt: skip
    assert hostadmit.package(files) == content.code()["phi4_engine"]
    assert content.code().keys() >= {"phi4_engine", "tool_parser.py", "tool_calls.py", "load.py"}


def test_ollama_is_not_started_with_what_nobody_signed(gateway: Gateway) -> None:
    model = gateway.model()
    program = gateway.host.root / "engines" / "o"
    digest = gateway.tree(program, {"bin/ollama": b"program"})
    given = {
        "staging": f"{gateway.state}/staging", "store": f"{gateway.state}/stores/s", "engine": str(program),
        "model": str(model), "image": "", "library": {},
    }  # fmt: skip
    gateway.told(FIRST)
    gateway.shown(naming(digest))
    assert "the model" in refusal("not named", create.create, given, b"")
    gateway.shown(naming(model.name, counter=8))
    assert "the engine" in refusal("not named", create.create, given, b"")
    refusal("not named", create.create, {**given, "image": ID}, b"")
    gateway.shown(naming(model.name, digest, images={"k": {"digest": DIGEST, "id": ID}}, counter=9))
    for one in (given, {**given, "image": ID}, {**given, "image": DIGEST}):
        hostadmit.guard(gateway.state, lambda one=one: create.sources(one))
    refusal("not named", create.create, {**given, "library": {"name": "phi4-mini", "digest": "d" * 64}}, b"")


def test_a_store_is_as_good_as_its_weights(gateway: Gateway) -> None:
    store, weights = gateway.host.state / "stores" / "s", b"GGUF weights"
    name = hashlib.sha256(weights).hexdigest()
    gateway.tree(store, {f"blobs/sha256-{name}": weights, "blobs/sha256-1": b"template", "manifests/m": b"{}"})
    gateway.told(FIRST)
    gateway.shown(naming(weights=("f" * 64,)))
    assert "the weights" in refusal("not named", stage, gateway.host, ONE, {}, {"store": str(store)})
    gateway.shown(naming(weights=(name,), counter=8))
    stage(gateway.host, ONE, {}, {"store": str(store)})
    (store / "blobs" / "sha256-2").write_bytes(b"GGUF smuggled")
    refusal("not named", stage, gateway.host, ONE, {}, {"store": str(store)})


TEXTS = {
    "another image": (COMPOSE.replace("1" * 64, "3" * 64), "not named"),
    "an image by its tag": (COMPOSE.replace(ID, "evil:latest"), "not named"),
    "a second service": (COMPOSE + "  more:\n    image: evil\n", "not named"),
    "an image in a line with others": (COMPOSE + "  more: {image: evil, user: root}\n", "not named"),
    "an image that is built": (COMPOSE + "    build: /tmp/evil\n", "not named"),
    "another file taken in": ("include: [/tmp/evil.yml]\n" + COMPOSE, "not named"),
    "another service taken in": (COMPOSE + "    extends: {file: /tmp/evil.yml, service: x}\n", "not named"),
    "a model that is not linked": (COMPOSE + "    x: /STATE/models/" + "f" * 64 + "\n", "not named"),
    "as it was signed": (COMPOSE, ""),
    "quoted": (COMPOSE.replace(ID, f"'{ID}'"), ""),
    "by the digest of its manifest": (COMPOSE.replace(ID, DIGEST), ""),
}


@pytest.mark.parametrize("name", TEXTS)
def test_images_of_a_compose_file(gateway: Gateway, name: str) -> None:
    text, reason = TEXTS[name]
    text = text.replace("/STATE", gateway.state)
    gateway.told(FIRST)
    gateway.shown(naming(images={"k": {"digest": DIGEST, "id": ID}}))
    if reason:
        refusal(reason, stage, gateway.host, ONE, {"compose.yml": text}, {})
        assert not (gateway.host.root / "releases" / ONE).exists()
    else:
        stage(gateway.host, ONE, {"compose.yml": text}, {})


def test_our_own_compose_files_are_understood(gateway: Gateway) -> None:
    for path in sorted((content.root() / "tests" / "golden").rglob("*compose*.yml")):
        text = path.read_text()
        assert len(hostadmit.IMAGE_LINE.findall(text)) == len(hostadmit.IMAGE_WORD.findall(text)), path


def test_programs_of_a_release_are_signed_too(gateway: Gateway) -> None:
    gateway.told(FIRST)
    text = "print('hello')\n"
    gateway.shown(naming(code={"tool_parser.py": hashlib.sha256(text.encode()).hexdigest()}))
    stage(gateway.host, ONE, {"tool_parser.py": text}, {})
    refusal("not named", stage, gateway.host, TWO, {"tool_parser.py": text + "import os\n"}, {})
