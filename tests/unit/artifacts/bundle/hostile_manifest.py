"""Bundles whose manifest is none, or has names that lead astray; every hash is right. Each returns the file's bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from phi4_edge.artifacts.bundle.manifest import LARGEST, MOST_FILES, SBOM
from tests.unit.artifacts.bundle.forge import Forge, sha, text

ESCAPES = "\x1b]0;owned\x07\x1b[2J"


def _raw(forge: Forge, raw: bytes) -> bytes:
    return forge.tar(raw)


def _set(**fields: Any) -> Callable[[Forge], bytes]:
    def made(forge: Forge) -> bytes:
        forge.document.update(fields)
        return forge.tar()

    return made


def _size(value: object) -> Callable[[Forge], bytes]:
    def made(forge: Forge) -> bytes:
        forge.line(f"{forge.folder('model')}/model.gguf")["size"] = value
        return forge.tar()

    return made


def _extra(path: str, data: bytes = b"more") -> Callable[[Forge], bytes]:
    """One more file; {model} and so on stand for the folders."""

    def made(forge: Forge) -> bytes:
        folders = {kind: forge.folder(kind) for kind in ("model", "release", "image", "wheelhouse")}
        forge.put(path.format(**folders), data)
        return forge.tar()

    return made


def _listed(name: str) -> Callable[[Forge], bytes]:
    """One more file in the model that the model's own manifest lists as well: only its name is wrong."""

    def made(forge: Forge) -> bytes:
        folder = forge.folder("model")
        forge.put(f"{folder}/{name}", b"more")
        forge.relist(folder)
        forge.rehouse("model", "tiny/gguf-q4_0")
        return forge.tar()

    return made


def _bomb(forge: Forge) -> bytes:
    body = b'{"format":"phi4-edge/bundle/1","x":[' + b"{}," * ((LARGEST - 60) // 3) + b"{}]}"
    return _raw(forge, body)


def _many_files(forge: Forge) -> bytes:
    folder = forge.folder("model")
    line = {"size": 0, "sha256": sha(b"")}
    forge.document["files"] += [{"path": f"{folder}/{number:x}", **line} for number in range(MOST_FILES + 1)]
    return forge.tar()


def _twice(forge: Forge) -> bytes:
    raw = forge.manifest()
    return _raw(forge, raw.replace(b'{\n "artifacts"', b'{\n "artifacts": {},\n "artifacts"', 1))


def _artifact_named(name: str) -> Callable[[Forge], bytes]:
    def made(forge: Forge) -> bytes:
        forge.document["artifacts"] = {name: forge.digest("model")}
        return forge.tar()

    return made


def _image(**fields: Any) -> Callable[[Forge], bytes]:
    def made(forge: Forge) -> bytes:
        forge.document["images"][forge.key].update(fields)
        return forge.tar()

    return made


def _image_key(key: str) -> Callable[[Forge], bytes]:
    def made(forge: Forge) -> bytes:
        line = forge.document["images"].pop(forge.key)
        forge.document["images"][key] = {**line, "reference": key.rpartition("/")[0]}
        return forge.tar()

    return made


def _host(name: str = "gw1", **fields: Any) -> Callable[[Forge], bytes]:
    def made(forge: Forge) -> bytes:
        forge.document["hosts"][name] = {**forge.document["hosts"]["gw1"], **fields}
        return forge.tar()

    return made


def _bill_twice(forge: Forge) -> bytes:
    forge.document["files"].append(dict(forge.line(SBOM)))
    return forge.tar()


def _without_bill(forge: Forge) -> bytes:
    forge.drop(SBOM)
    return forge.tar()


def _two_sizes(forge: Forge) -> bytes:
    folder = forge.folder("model")
    line = forge.line(f"{folder}/model.gguf")
    forge.document["files"].append({**line, "path": f"{folder}/other", "size": line["size"] + 1})
    return forge.tar()


CASES: dict[str, Callable[[Forge], bytes]] = {
    "manifest-bomb-of-objects": _bomb,
    "manifest-bomb-of-lists": lambda forge: _raw(forge, b"[" + b"[]," * (LARGEST // 3 - 2) + b"[]]"),
    "manifest-nested-lists": lambda forge: _raw(forge, b"[" * 4_000_000),
    "manifest-nested-objects": lambda forge: _raw(forge, b'{"a":' * 1_000_000),
    "manifest-of-numbers": lambda forge: _raw(forge, b"[" + b"1," * 3_000_000 + b"1]"),
    "manifest-one-long-string": lambda forge: _raw(forge, b'{"format":"' + b"x" * (LARGEST - 20) + b'"}'),
    "manifest-too-long": lambda forge: _raw(forge, b" " * (LARGEST + 1)),
    "manifest-long-number": lambda forge: _raw(forge, b'{"format":' + b"9" * 5_000_000 + b"}"),
    "manifest-names-twice": _twice,
    "manifest-not-a-number": lambda forge: _raw(forge, forge.manifest().replace(b'"size": 2800', b'"size": NaN', 1)),
    "manifest-infinite": lambda forge: _raw(forge, forge.manifest().replace(b'"size": 2800', b'"size": 1e999', 1)),
    "manifest-not-utf-8": lambda forge: _raw(forge, forge.manifest().replace(b"tiny", b"t\xffny")),
    "manifest-utf-16": lambda forge: _raw(forge, forge.manifest().decode().encode("utf-16")),
    "manifest-byte-order-mark": lambda forge: _raw(forge, b"\xef\xbb\xbf" + forge.manifest()),
    "manifest-a-list": lambda forge: _raw(forge, text([forge.document])),
    "manifest-null": lambda forge: _raw(forge, b"null\n"),
    "manifest-other-spelling": lambda forge: _raw(forge, json.dumps(json.loads(forge.manifest())).encode()),
    "manifest-other-digest": lambda forge: _raw(forge, text({**forge.document, "digest": "0" * 64})),
    "manifest-of-another-format": _set(format="phi4-edge/bundle/2"),
    "manifest-of-another-version": _set(phi4_edge_version="0.0.1"),
    "manifest-version-with-escapes": _set(phi4_edge_version=ESCAPES),
    "manifest-of-other-engines": _set(engines={"onnx": "f" * 64}),
    "manifest-more-fields": _set(extra=1),
    "manifest-without-files": _set(files=[]),
    "manifest-files-a-mapping": lambda forge: _raw(forge, text({**forge.document, "files": {}})),
    "manifest-artifacts-a-list": _set(artifacts=[]),
    "manifest-images-null": _set(images=None),
    "manifest-wheelhouses-a-text": _set(wheelhouses="abc"),
    "manifest-too-many-files": _many_files,
    "size-true": _size(True),
    "size-negative": _size(-1),
    "size-fraction": _size(2800.0),
    "size-huge": _size(1 << 61),
    "size-a-text": _size("2800"),
    "sizes-of-one-content-differ": _two_sizes,
    "path-up": _extra("{model}/../../../escape"),
    "path-absolute": _extra("/tmp/escape"),
    "path-dot": _listed("./x"),
    "path-two-slashes": _listed("a//x"),
    "path-slash-at-end": _listed("x/"),
    "path-backslash": _listed("..\\x"),
    "path-nul": _listed("x\0y"),
    "path-line-end": _listed("x\ny"),
    "path-escape-codes": _listed(ESCAPES),
    "path-right-to-left": _listed("model\u202effug"),
    "path-homoglyph": _listed("m\u043edel.gguf"),
    "path-not-normalized": _listed("e\u0301"),
    "path-surrogate": _extra("{model}/\ud800"),
    "path-other-case": _listed("MODEL.gguf"),
    "path-file-and-folder": _listed("model.gguf/x"),
    "path-device": _listed("CON"),
    "path-device-with-ending": _listed("com1.txt"),
    "path-dot-at-end": _listed("model."),
    "path-hidden": _listed(".bashrc"),
    "path-space": _listed("model "),
    "path-option": _listed("-rf"),
    "path-too-long": _listed("x" * 201),
    "path-too-deep": _listed("/".join("x" * 20)),
    "file-in-no-folder": _extra("index.json"),
    "file-images-index": _extra("images.json"),
    "file-in-locks": _extra("locks/store.lock/x"),
    "file-in-partial": _extra("partial/ollama-0.35.0/ollama-linux-amd64.tar.zst"),
    "file-in-tmp": _extra("tmp/bundle-0/x"),
    "file-in-environments": _extra("environments/converter-0/bin/python"),
    "file-in-another-artifact": _extra("artifacts/" + "a" * 64 + "/x"),
    "file-in-an-upper-case-artifact": _extra("artifacts/" + "A" * 64 + "/x"),
    "file-in-another-wheelhouse": _extra("wheelhouses/fedcba9876543210-cp313-x86_64/x.whl"),
    "file-in-another-image": _extra("images/" + "a" * 64 + "/blobs/sha256/" + "b" * 64),
    "wheelhouse-up": _set(wheelhouses=["../x"]),
    "wheelhouse-twice": lambda forge: _set(wheelhouses=forge.document["wheelhouses"] * 2)(forge),
    "artifact-id-traversal": _artifact_named("../../x"),
    "artifact-id-absolute": _artifact_named("/tmp/x"),
    "artifact-id-upper-case": _artifact_named("TINY/gguf-q4_0"),
    "artifact-id-escapes": _artifact_named(f"tiny/{ESCAPES}"),
    "artifact-digest-no-hash": _set(artifacts={"tiny/gguf-q4_0": "../x"}),
    "image-key-up": _image_key("../../x:1/amd64"),
    "image-key-without-tag": _image_key("docker.io/ollama/ollama/amd64"),
    "image-key-other-machine": _image_key("docker.io/ollama/ollama:0.35.0/../x"),
    "image-digest-no-hash": _image(digest="sha256:../../x"),
    "image-path-up": _image(path="../../x"),
    "image-more-fields": _image(more=1),
    "image-size-negative": _image(size=-1),
    "image-reference-other": _image(reference="ghcr.io/evil/other:1"),
    "host-name-escapes": _host(ESCAPES),
    "host-engine-escapes": _host(engine=ESCAPES),
    "host-runtime-a-list": _host(runtime=[]),
    "host-images-a-text": _host(images="abc"),
    "host-more-fields": _host(more=1),
    "bill-missing": _without_bill,
    "bill-twice": _bill_twice,
}
