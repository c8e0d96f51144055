"""Host side of container images: says what Docker holds, and gives it an image from a directory or from a registry.

An image counts as there only when Docker itself says the right id and the right layers; both of Docker's image stores
are known: the classic one calls an image by the digest of its configuration, containerd's by that of its manifest.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import tarfile
import threading
from typing import Any, List, Tuple

import hostimages
import hostpool
from hostlib import HostError, Json, free_bytes, inside, remove_tree
from hostpath import search_path
from hostrun import clean, serve

# Unpacking 10 GB on a slow disk; pulling them over a slow line.
LOAD_SECONDS = 3600.0
PULL_SECONDS = 4 * 3600.0
ASK_SECONDS = 120.0
BLOCK = 1 << 20
DOCKER_MANIFEST = "docker-manifest.json"


def run(argv: List[str], seconds: float = ASK_SECONDS) -> Tuple[int, str, str]:
    """Exit status, output and cleaned errors of a docker command; 127 where there is no Docker."""
    try:
        done = subprocess.run(
            ["docker", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=seconds, check=False, env=dict(os.environ, PATH=search_path(), LC_ALL="C.UTF-8"),
        )  # fmt: skip
    except FileNotFoundError:
        return 127, "", "docker: not found"
    except subprocess.TimeoutExpired:
        return 124, "", f"no end after {seconds:.0f} s"
    return done.returncode, done.stdout.decode("utf-8", "replace"), clean(done.stderr.decode("utf-8", "replace"), 800)


def must(argv: List[str], seconds: float = ASK_SECONDS) -> str:
    """Output of a docker command. Raises HostError with its words when it fails."""
    status, output, said = run(argv, seconds)
    if status:
        raise HostError(f"docker {argv[0]} failed with exit status {status}: {said[-800:]}")
    return output


def found(references: List[str]) -> List[Json]:
    """What Docker says about those of the references that it knows."""
    output = run(["image", "inspect", *references])[1] if references else ""
    document = json.loads(output) if output.strip() else []
    return [item for item in document if isinstance(item, dict)]


def matches(item: Json, image: Json) -> bool:
    """True when this is the image: by id, by its layers where they are known, and by architecture."""
    layers = (item.get("RootFS") or {}).get("Layers")
    right = item.get("Id") in (image["id"], image["digest"])
    pulled = any(str(name).endswith("@" + image["digest"]) for name in item.get("RepoDigests") or [])
    known = not image["layers"] or layers == image["layers"]
    return bool((right or pulled) and known and item.get("Architecture") == image["architecture"])


def references(image: Json) -> List[str]:
    """Every name under which the image may be known."""
    return [name for name in (image["name"], image["id"], image["digest"], image["pull"]) if name]


def about() -> Tuple[int, Json, str]:
    """Exit status, what Docker says about itself, and its cleaned errors."""
    status, output, said = run(["info", "--format", "{{json .}}"])
    return status, json.loads(output) if status == 0 and output.strip() else {}, said


def kept(info: Json) -> Tuple[bool, str]:
    """Whether images are in Docker's own store rather than containerd's, and the folder that they are in."""
    docker, containerd = hostimages.roots(str(info.get("DockerRootDir") or ""))
    classic = "containerd.snapshotter" not in json.dumps(info.get("DriverStatus") or [])
    return classic, docker if classic else containerd


def survey(args: Json, _payload: bytes) -> Json:
    """Which images are there, and, where one is not, what Docker could use for it. Changes nothing."""
    status, info, said = about()
    if status or not info.get("ServerVersion"):
        errors = " ".join(str(line) for line in info.get("ServerErrors") or []) or said
        return {"docker": "", "why": clean(errors, 400), "images": {}}
    items = found([name for image in args["images"].values() for name in references(image)])
    images = {}
    for role, image in args["images"].items():
        here = next((item for item in items if matches(item, image)), None)
        named = here is not None and image["name"] in (here.get("RepoTags") or [])
        images[role] = {"id": here["Id"] if here else "", "named": named}
    classic, folder = kept(info)
    missing = [image for role, image in args["images"].items() if not images[role]["id"]]
    return {
        "docker": info["ServerVersion"],
        "images": images,
        "shared": shared(missing) if classic and missing else {},
        **room(args, folder),
    }


def shared(missing: List[Json]) -> Json:
    """How many of the lowest layers of each image Docker has already, in whatever image; by name."""
    known = [(item.get("RootFS") or {}).get("Layers") or [] for item in found(must(["image", "ls", "-aq"]).split())]
    answer = {}
    for image in missing:
        answer[image["name"]] = max((depth(image["layers"], layers) for layers in known), default=0)
    return answer


def depth(wanted: List[str], layers: List[str]) -> int:
    """How many layers, counted from the lowest, are the same: Docker shares a layer only on top of equal ones."""
    most = min(len(wanted), len(layers))
    return next((index for index in range(most) if wanted[index] != layers[index]), most)


def room(args: Json, docker: str) -> Json:
    """Free bytes where Docker keeps images and where files arrive, and whether both draw on the same space."""
    return {
        "docker_root": docker,
        "docker_free": free_bytes(docker),
        "staging_free": free_bytes(args["staging"]),
        "same_disk": hostpool.pool(docker) == hostpool.pool(args["staging"]),
    }


def load(args: Json, _payload: bytes) -> Json:
    """Docker holds the image that lies in `folder`; the folder is gone."""
    image, folder = args["image"], args["folder"]
    status, said = stream(folder)
    if status:
        full = "no space left" in said.lower() or "disk quota" in said.lower()
        if full:  # a host that cannot write its log is worse off than a push that starts again
            discard(folder)
        place = kept(about()[1])[1]
        why = f"the disk became full: {free_bytes(place)} bytes are free at {place} now" if full else said[-800:]
        raise HostError(f"Docker did not take the image {image['key']}: {why}", disk_full=full, refused=not full)
    here = settle(image)
    discard(folder)
    return {"changed": True, "id": here}


def stream(folder: str) -> Tuple[int, str]:
    """Exit status and words of `docker load`, which reads the files of `folder` as one archive made on the way."""
    docker = subprocess.Popen(
        ["docker", "load", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=dict(os.environ, PATH=search_path(), LC_ALL="C.UTF-8"),
    )  # fmt: skip
    assert docker.stdin is not None and docker.stdout is not None  # noqa: S101 - for the type checker
    said: List[bytes] = []
    words = docker.stdout
    reader = threading.Thread(target=lambda: said.append(words.read()), daemon=True)
    reader.start()
    watchdog = threading.Timer(LOAD_SECONDS, docker.kill)
    watchdog.start()
    broken = ""
    try:
        write_archive(docker.stdin, folder)
        docker.stdin.close()
    except BrokenPipeError:
        broken = "it stopped reading"
    except BaseException:
        docker.kill()  # it would wait for the rest as long as the watchdog lets it
        raise
    finally:
        with contextlib.suppress(BrokenPipeError):
            docker.stdin.close()
        status = docker.wait()
        watchdog.cancel()
        reader.join()
        words.close()
    return status or (1 if broken else 0), clean(b"".join(said).decode("utf-8", "replace"), 2000) or broken


def write_archive(target: Any, folder: str) -> None:
    """The directory as a tar archive; what Docker reads first comes first."""
    names = sorted(
        os.path.relpath(os.path.join(top, name), folder) for top, _folders, files in os.walk(folder) for name in files
    )
    with tarfile.open(fileobj=target, mode="w|", bufsize=BLOCK, format=tarfile.PAX_FORMAT) as archive:
        setattr(archive, "copybufsize", BLOCK)  # noqa: B010 - typeshed does not know it
        with open(inside(folder, DOCKER_MANIFEST), "rb") as manifest:
            add(archive, "manifest.json", manifest.read())
        for name in names:
            if name == DOCKER_MANIFEST:
                continue
            path = inside(folder, name)
            info = tarfile.TarInfo(name)
            info.size, info.mode = os.lstat(path).st_size, 0o644
            with open(path, "rb") as stream_of_file:
                archive.addfile(info, stream_of_file)


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """One small member."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    archive.addfile(info, io.BytesIO(data))


def discard(folder: str) -> None:
    """The staged directory and its record are gone."""
    remove_tree(folder)
    remove_tree(folder + ".json")


def pull(args: Json, _payload: bytes) -> Json:
    """Docker holds the image, fetched by the host itself, by digest."""
    image = args["image"]
    before = bool(found([image["pull"]]))
    status, _output, said = run(["pull", "--quiet", image["pull"]], PULL_SECONDS)
    if status:
        raise HostError(
            f"this host could not pull {image['pull']}: {said[-600:]}. Set phi4_image_mirror to a registry that it "
            "reaches and trusts, or phi4_image_delivery to push"
        )
    here = settle(image)
    if not before:
        # One name, ours: whoever removes that has removed the image.
        run(["image", "rm", image["pull"]])
    return {"changed": True, "id": here}


def tag(args: Json, _payload: bytes) -> Json:
    """The image, which is there, has our name as well."""
    return {"changed": True, "id": settle(args["image"])}


def settle(image: Json) -> str:
    """The image is there, is the right one, and has our name; its id. Raises HostError with what was found instead."""
    items = found(references(image))
    here = next((item for item in items if matches(item, image)), None)
    if here is None:
        seen = ", ".join(f"{item.get('Id')} ({item.get('Architecture')})" for item in items) or "nothing"
        if items and not set(references(image)[1:]) & {str(item.get("Id")) for item in items}:
            run(["image", "rm", image["name"]])
        raise HostError(
            f"Docker holds {clean(seen, 300)} for {image['key']}, needed {image['id'] or image['digest']} for "
            f"{image['architecture']} with {len(image['layers'])} layers: it is not used. Run the same command again"
        )
    if image["name"] not in (here.get("RepoTags") or []):
        must(["tag", str(here["Id"]), image["name"]])
    return str(here["Id"])


if __name__ == "__main__":
    serve(globals(), {"survey": survey, "load": load, "pull": pull, "tag": tag})
