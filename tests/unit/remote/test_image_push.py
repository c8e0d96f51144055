"""What a host is told about an image, and how much room it takes: from the files of the store, as plain text."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

import pytest

from phi4_edge.core import image_walk, manifest
from phi4_edge.core.image_reference import local_name
from phi4_edge.errors import ArtifactError
from phi4_edge.remote import image_push
from phi4_edge.remote.image_push import ImageToPush, Layer
from tests.unit.artifacts.images.standin_registry import planned

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
REPO = "site/thing"
KEY = f"{REPO}:1.0/amd64"
DIFF_IDS = [f"sha256:{name * 64}" for name in "def"]


def named(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


CONFIG_RAW = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": DIFF_IDS}}).encode()
CONFIG = named(CONFIG_RAW)
MANIFEST_RAW = json.dumps({
    "config": {"mediaType": "c", "digest": CONFIG, "size": len(CONFIG_RAW)},
    "layers": [{"digest": f"sha256:{name * 64}", "mediaType": GZIP, "size": 100} for name in "123"],
}).encode()  # fmt: skip
MANIFEST = named(MANIFEST_RAW)
FOLDER = f"store/images/{MANIFEST[7:]}"


def files(fetched: bool = True) -> dict[str, bytes]:
    entry = {"digest": MANIFEST, "id": CONFIG, "path": "", "size": 1, "reference": f"{REPO}:1.0"}
    index = {"store/images.json": json.dumps({"images": {KEY: entry}}).encode()}
    blobs = {f"{FOLDER}/blobs/sha256/{named(raw)[7:]}": raw for raw in (MANIFEST_RAW, CONFIG_RAW)}
    walked = image_walk.walk(MANIFEST, lambda digest, limit: blobs.get(f"{FOLDER}/blobs/sha256/{digest[7:]}"), "x")
    digest = manifest.digest(image_walk.files(walked, local_name(REPO, "1.0", MANIFEST)))
    own = {f"{FOLDER}/manifest.json": json.dumps({"digest": digest}).encode()}
    return {**index, **blobs, **own} if fetched else index


def read(
    held: dict[str, bytes], delivery: str = "push", mirror: str = "", size: int = 100, **image: Any
) -> ImageToPush:
    wanted = {"engine": {**asdict(planned(REPO)), **image}, "webui": None}
    tail = (size, (5000).to_bytes(4, "little"))

    def some(path: str, limit: int) -> bytes | None:
        return held[path][:limit] if path in held else None

    found = image_push.read("store", wanted, delivery, mirror, some, lambda path: tail)
    assert set(found) == {"engine"}
    return found["engine"]


def of(*layers: Layer) -> ImageToPush:
    return ImageToPush(
        KEY, MANIFEST, CONFIG, "amd64", "phi4-edge/x:1", "", "f", tuple(str(one) for one in layers), layers
    )


def test_a_pushed_image_is_known_by_manifest_configuration_and_layers() -> None:
    found = read(files())
    assert found.to_dict() == {
        "key": KEY, "digest": MANIFEST, "id": CONFIG, "architecture": "amd64", "pull": "",
        "name": f"phi4-edge/thing:1.0-{MANIFEST[7:19]}", "layers": DIFF_IDS,
    }  # fmt: skip
    assert (found.folder, found.size(), found.unpacked()) == (FOLDER, 300, 15000)
    assert found.content == json.loads(files()[f"{FOLDER}/manifest.json"])["digest"]


@pytest.mark.parametrize(
    ("path", "raw", "message"),
    [
        (f"{FOLDER}/blobs/sha256/{MANIFEST[7:]}", MANIFEST_RAW + b" ", "a blob is named by its hash"),
        (f"{FOLDER}/blobs/sha256/{CONFIG[7:]}", CONFIG_RAW.replace(b"amd64", b"arm64"), "a blob is named by its hash"),
        (f"{FOLDER}/blobs/sha256/{CONFIG[7:]}", CONFIG_RAW + b" ", "more than"),
        (f"{FOLDER}/manifest.json", b'{"digest": "' + b"0" * 64 + b'"}', "lists other files than the image has"),
        (f"{FOLDER}/manifest.json", b"[" * 100_000, "lists other files than the image has"),
    ],
)
def test_what_is_not_of_the_digest_reaches_no_host(path: str, raw: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        read({**files(), path: raw})
    with pytest.raises(ArtifactError, match="damaged on the controller: 99 bytes, needed 100"):
        read(files(), size=99)


def test_an_image_that_two_tags_share_lies_under_the_name_of_one() -> None:
    held = files()
    index = json.loads(held["store/images.json"])["images"]
    other = json.dumps({"images": {**index, f"{REPO}:latest/amd64": {**index[KEY], "reference": f"{REPO}:latest"}}})
    found = read({**held, "store/images.json": other.encode()}, tag="latest", key=f"{REPO}:latest/amd64")
    assert found.name.startswith("phi4-edge/thing:latest-")
    assert found.content == read(held).content


@pytest.mark.parametrize(
    ("mirror", "pull"),
    [("", f"docker.io/{REPO}"), ("mirror:5000", f"mirror:5000/{REPO}"), ("http://m/edge", f"m/edge/{REPO}")],
)
def test_a_pulled_image_is_named_by_digest_and_needs_no_files_here(mirror: str, pull: str) -> None:
    found = read(files(fetched=False), "registry", mirror)
    assert (found.pull, found.id, found.diff_ids) == (f"{pull}@{MANIFEST}", CONFIG, ())


def test_a_digest_of_the_plan_is_enough_to_pull_but_not_to_push() -> None:
    other = "sha256:" + "c" * 64
    assert read({}, "registry", digest=other).id == ""
    with pytest.raises(ArtifactError, match="found no image"):
        read({}, digest=other)
    with pytest.raises(ArtifactError, match="found no digest"):
        read({}, "registry")


def test_images_of_our_own_are_pushed_whatever_was_asked_for() -> None:
    with pytest.raises(ArtifactError, match="found no image phi4-edge/onnx"):
        read({}, "registry", repository="phi4-edge/onnx", key="phi4-edge/onnx:1.0/amd64", digest=MANIFEST)


def test_a_layer_that_a_higher_one_repeats_is_sent() -> None:
    one, two = Layer("one", 10, 20, GZIP), Layer("two", 30, 40, GZIP)
    image = of(one, two, one)
    assert image.lowest(1) == frozenset()
    assert image.lowest(2) == {"two"}
    assert image.lowest(3) == {"one", "two"}
    assert (image.size(), image.unpacked(image.lowest(2))) == (40, 20)


@pytest.mark.parametrize(
    ("size", "real"),
    [(10, 5000), (5_000_000_000, 8_000_000_000), (1_000_000_000, 1_000_000_001), (4_294_967_296, 4_294_967_296)],
)
def test_layers_of_more_than_four_gigabytes_are_not_underestimated_below_what_is_sent(size: int, real: int) -> None:
    end = (real % 2**32).to_bytes(4, "little")
    found = image_push._unpacked(GZIP, size, end)
    assert found >= size
    assert (found - real) % 2**32 == 0
    assert found <= real


@pytest.mark.parametrize(
    ("docker", "staging", "same", "fits"),
    [(140, 0, True, True), (139, 0, True, False), (110, 40, False, True), (109, 99, False, False),
     (999, 39, False, False)],
)  # fmt: skip
def test_docker_needs_room_for_a_copy_and_for_what_it_unpacks(
    docker: int, staging: int, same: bool, fits: bool
) -> None:
    room = {"docker_root": "/d", "docker_free": docker, "staging_free": staging, "same_disk": same}
    image = of(Layer("one", 30, 70, GZIP))
    if fits:
        image_push.check_room(image, frozenset(), room, 10)
        return
    with pytest.raises(ArtifactError, match=r"not enough disk .*found \d+ bytes free at"):
        image_push.check_room(image, frozenset(), room, 10)


def test_zstd_needs_a_docker_that_knows_it() -> None:
    image = of(Layer("one", 1, 1, "application/vnd.oci.image.layer.v1.tar+zstd"))
    image_push.check_version(image, "26.1.5+dfsg1")
    with pytest.raises(ArtifactError, match=r"found Docker 20\.10\.24 on the host, needed 23"):
        image_push.check_version(image, "20.10.24")
    image_push.check_version(of(Layer("one", 1, 1, GZIP)), "20.10.24")
