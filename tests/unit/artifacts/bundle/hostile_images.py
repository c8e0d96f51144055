"""Bundles whose images are not those that they are pinned to, or are none. Each returns the file's bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from phi4_edge.artifacts.bundle.manifest import NAME
from tests.unit.artifacts.bundle.forge import Forge, sha

BLOBS = "blobs/sha256"
Make = Callable[[Forge], bytes]


def _image(change: Callable[[dict[str, Any], dict[str, Any]], Any], blobs: tuple[bytes, ...] = ()) -> Make:
    """Manifest and configuration changed by `change`, hashed anew down to the pin; with more `blobs` in the folder."""

    def made(forge: Forge) -> bytes:
        folder, key = forge.folder("image"), forge.key
        manifest = json.loads(forge.read(f"{folder}/{BLOBS}/{forge.digest('image')}"))
        config = json.loads(forge.read(f"{folder}/{BLOBS}/{manifest['config']['digest'][7:]}"))
        layers = [forge.read(f"{folder}/{BLOBS}/{layer['digest'][7:]}") for layer in manifest["layers"]]
        line = forge.document["images"][key]
        forge.document["files"] = [one for one in forge.document["files"] if not one["path"].startswith(folder)]
        change(manifest, config)
        raw = json.dumps(config).encode()
        if isinstance(manifest.get("config"), dict):
            manifest["config"] = {**manifest["config"], "digest": f"sha256:{sha(raw)}", "size": len(raw)}
        top = json.dumps(manifest).encode()
        new = f"images/{sha(top)}"
        sizes = [layer.get("size", 0) for layer in manifest.get("layers", [])]
        line.update(digest=f"sha256:{sha(top)}", path=new, id=f"sha256:{sha(raw)}", size=len(raw) + sum(sizes))
        for data in (top, raw, *layers, *blobs):
            forge.put(f"{new}/{BLOBS}/{sha(data)}", data)
        return forge.tar()

    return made


def _pin_bypass(forge: Forge) -> bytes:
    """The blob that is called as the pin says holds another manifest."""
    folder, digest = forge.folder("image"), forge.digest("image")
    other = forge.read(f"{folder}/{BLOBS}/{digest}").replace(b'"schemaVersion":2', b'"schemaVersion":3')
    forge.put(f"{folder}/{BLOBS}/{digest}", other)
    return forge.tar()


def _config_bypass(forge: Forge) -> bytes:
    folder, digest = forge.folder("image"), forge.digest("image")
    config = json.loads(forge.read(f"{folder}/{BLOBS}/{digest}"))["config"]["digest"][7:]
    path = f"{folder}/{BLOBS}/{config}"
    forge.put(path, forge.read(path).replace(b'"Cmd"', b'"Cmx"'))
    return forge.tar()


def _layer_bypass(forge: Forge) -> bytes:
    folder = forge.folder("image")
    layer = next(str(one["path"]) for one in forge.document["files"]
                 if one["path"].startswith(folder) and one["size"] == 1500)  # fmt: skip
    forge.put(layer, b"l" * 1500)
    return forge.tar()


def _in_image(name: str, data: bytes) -> Make:
    def made(forge: Forge) -> bytes:
        forge.put(f"{forge.folder('image')}/{name}", data)
        return forge.tar()

    return made


def _image_id(forge: Forge) -> bytes:
    forge.document["images"][forge.key]["id"] = "sha256:" + "e" * 64
    return forge.tar()


def _many_images(forge: Forge) -> bytes:
    line = forge.document["images"][forge.key]
    keys = [f"docker.io/ollama/ollama:{number}" for number in range(200)]
    forge.document["images"] |= {f"{key}/amd64": {**line, "reference": key, "path": ""} for key in keys}
    return forge.tar()


def _uncompressed(manifest: dict[str, Any], config: dict[str, Any]) -> None:
    manifest["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar"


def _set(part: str, **fields: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(manifest: dict[str, Any], config: dict[str, Any]) -> None:
        (manifest if part == "manifest" else config).update(fields)

    return change


def _layer(**fields: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda manifest, config: manifest["layers"][0].update(fields)


_DEEP: Any = []
for _ in range(60):
    _DEEP = [_DEEP]

CASES: dict[str, Make] = {
    "image-pin-bypass": _pin_bypass,
    "image-configuration-bypass": _config_bypass,
    "image-layer-bypass": _layer_bypass,
    "image-layer-missing": _image(_layer(digest="sha256:" + "a" * 64)),
    "image-extra-blob": _image(_set("manifest"), (b"a blob that nothing names",)),
    "image-extra-file": _in_image("etc/x", b"x"),
    "image-brings-its-own-index": _in_image("index.json", b"{}"),
    "image-brings-dockers-manifest": _in_image("docker-manifest.json", b"[]"),
    "image-brings-our-manifest": _in_image(NAME, b"{}"),
    "image-other-id": _image_id,
    "image-other-machine": _image(_set("config", architecture="arm64")),
    "image-other-system": _image(_set("config", os="windows")),
    "image-layer-size": _image(_layer(size=7)),
    "image-layer-size-huge": _image(_layer(size=1 << 62)),
    "image-layer-elsewhere": _image(_layer(urls=["https://example.invalid/"])),
    "image-layer-up": _image(_layer(digest="sha256:../../x")),
    "image-layer-other-content": _image(_uncompressed),
    "image-without-layers": _image(_set("manifest", layers=[])),
    "image-of-too-many-layers": _image(lambda manifest, config: manifest.update(layers=manifest["layers"] * 200)),
    "image-a-list-of-images": _image(_set("manifest", mediaType="application/vnd.oci.image.index.v1+json")),
    "image-without-configuration": _image(lambda manifest, config: manifest.pop("config")),
    "image-without-diff-ids": _image(_set("config", rootfs={})),
    "image-other-diff-ids": _image(_set("config", rootfs={"diff_ids": ["sha256:" + "d" * 64] * 2})),
    "image-configuration-nested": _image(_set("config", x=_DEEP)),
    "image-configuration-bomb": _image(_set("config", x=[{}] * 2_000_000)),
    "image-configuration-too-long": _image(_set("config", x="x" * (8 << 20))),
    "images-too-many": _many_images,
}
