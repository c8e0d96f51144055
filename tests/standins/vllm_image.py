"""Builds an image of the real vLLM for CPUs from what package indexes offer, for machines that reach no image registry.

It stands in for docker.io/vllm/vllm-openai-cpu, under whose name the store gets it. Real: vLLM itself, PyTorch, the API
server, the entry point that our Compose document uses. Left out: Triton and the compiled kernels that need it, OpenCV
(pictures), the C compiler, tcmalloc and Intel's OpenMP preloaded; and the version is the newest that is built for CPUs.

Usage: vllm_image.py [--load] [--store DIRECTORY]
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.convert.pytorch import TORCH, TORCH_INDEX, TORCH_INDEX_SETTING
from phi4_edge.artifacts.images import held, oci
from phi4_edge.artifacts.images.registry import OCI_MANIFEST, Document
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.data import load_catalog

ROOT = Path(__file__).parents[2]
LOCK = Path(__file__).with_name("vllm_image.lock")
CACHE = ROOT / "build" / "vllm-image"
SUITE, PYTHON = "bookworm", "3.11"
PACKAGES = ("python3", "libnuma1", "libstdc++6", "util-linux")
SITE = "usr/local/lib/python3.11/dist-packages"
CONFIG_TYPE, LAYER_TYPE = oci.CONFIG_TYPES[OCI_MANIFEST], oci.GZIP_TYPES[OCI_MANIFEST]
# What no server needs: 300 MB of headers, tests, examples and command line tools.
UNUSED = (
    "torch/include",
    "torch/share",
    "torch/test",
    "bin",
    "share",
    "numpy/tests",
    "sympy/plotting/tests",
)
NAME = "phi4-edge-lab/vllm-cpu"
# Another text here is another image.
RECIPE = "2"
Say = Callable[[str], None]


class NoTorchError(Exception):
    """PyTorch's CPU build, which this vLLM is built against, is in no index that is reached from here."""


def tell(text: str) -> None:
    """To standard output, at once."""
    print(text, flush=True)  # noqa: T201 - a script that is run by hand and by tests


def recipe() -> str:
    """Names the content: other packages or another configuration are another image."""
    parts = [RECIPE, TORCH, SUITE, PYTHON, SITE, *PACKAGES, *UNUSED, repr(_config([]))]
    return hashlib.sha256(LOCK.read_bytes() + "\n".join(parts).encode()).hexdigest()[:16]


def build(say: Say = tell) -> Path:
    """The OCI layout of the image, made now when the cache has none (3 minutes on two cores, 4 GB meanwhile)."""
    target = CACHE / recipe()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "index.json").is_file():
            _build(target, say)
    return target


def _build(target: Path, say: Say) -> None:
    """The layout is in `target`, and nothing older, or half made, beside it."""
    for old in CACHE.iterdir():
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)  # another one that was interrupted may be at it
    with tempfile.TemporaryDirectory(prefix="new-", dir=CACHE) as folder:
        work = Path(folder)
        work.chmod(0o755)  # mmdebstrap without root works as another user
        layout = work / "layout"
        layout.mkdir()
        began = time.monotonic()
        layers = [_layer(layout, _base(work, say)), _layer(layout, _site(work, say))]
        config = oci.write_blob(layout, CONFIG_TYPE, oci.encode(_config([diff_id for _, diff_id in layers])))
        image = oci.write_manifest(layout, OCI_MANIFEST, config, [blob for blob, _ in layers])
        oci.write_layout(layout, image, f"{NAME}:{recipe()}")
        shutil.copyfile(layout / oci.DOCKER_NAME, layout / "manifest.json")
        layout.rename(target)
        say(f"built {NAME}:{recipe()}, {image.size >> 20} MiB, in {time.monotonic() - began:.0f} s")


def load(layout: Path) -> str:
    """The machine's Docker has the image; returns its name."""
    name = f"{NAME}:{recipe()}"
    if subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode:
        with subprocess.Popen(["docker", "load", "--quiet"], stdin=subprocess.PIPE, text=False) as docker:
            assert docker.stdin is not None
            with tarfile.open(fileobj=docker.stdin, mode="w|") as archive:
                archive.add(layout, arcname=".")
            docker.stdin.close()
            if docker.wait():
                raise SystemExit("docker load refused the image")
    return name


def adopt(layout: Path, store: Store) -> str:
    """The store holds the image under the catalog's key for vLLM on x86-64 CPUs; returns that key."""
    builds = load_catalog().engines["vllm"].builds["cpu"]
    of_catalog = next(image for image in builds.images if image.architecture == "x86_64")
    key = f"{of_catalog.repository}:{of_catalog.tag}/amd64"
    image = read(layout)
    wanted = held.Wanted(key, of_catalog.repository, of_catalog.tag, "amd64", image.document.digest, False)
    shelf = Images(store)
    if shelf.index().get(key, {}).get("digest") == image.document.digest and not shelf.damage(
        image.document.digest, False
    ):
        return key
    with store.workspace("image") as work:
        copy = work / "layout"
        shutil.copytree(layout, copy, copy_function=_link, ignore=lambda _folder, names: {"manifest.json"} & set(names))
        for name in ("index.json", "oci-layout", oci.DOCKER_NAME):
            (copy / name).unlink()  # written anew, and not into the file that is linked
        source = {"kind": "stand-in", "lock": recipe()}
        held.keep(shelf, wanted, image, copy, source, replace=True)
    return key


def read(layout: Path) -> oci.OciImage:
    """What the layout's manifest lists."""
    entry = json.loads((layout / "index.json").read_text())["manifests"][0]
    raw = (layout / oci.BLOBS / entry["digest"].removeprefix("sha256:")).read_bytes()
    return oci.read_manifest(Document(entry["digest"], entry["mediaType"], raw), str(layout))


def _base(work: Path, say: Say) -> Path:
    """A tar of Debian with Python, and nothing that nobody reads."""
    say(f"making a root file system of Debian {SUITE}")
    target = work / "base.tar"
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man", "info")]
    isolation = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"] if os.geteuid() == 0 else []
    _run(
        *isolation, "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", *excluded,
        '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*', SUITE, str(target),
        env={"TMPDIR": str(work), "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    return target


def _site(work: Path, say: Say) -> Path:
    """A tar of the Python packages, placed for Debian's Python."""
    say("installing vLLM")
    target = work / "site" / SITE
    install = [
        sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-cache", "--python", sys.executable, "--target",
        str(target), "--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_36", "--no-deps",
        "--only-binary", ":all:",
    ]  # fmt: skip
    _run(*install, "--require-hashes", "-r", str(LOCK))
    links = os.environ.get("PIP_FIND_LINKS", "").split()
    index = os.environ.get(TORCH_INDEX_SETTING) or TORCH_INDEX
    offered = [word for link in links for word in ("--find-links", link)]
    if (not links or _try(*install, *offered, TORCH)) and _try(*install, *offered, "--extra-index-url", index, TORCH):
        raise NoTorchError(f"{TORCH} is neither in {' '.join(links) or 'PIP_FIND_LINKS'} nor in {index}")
    for name in UNUSED:
        shutil.rmtree(target / name, ignore_errors=True)
    for tool in (target / "torch" / "bin").iterdir():
        if tool.is_file() and tool.name != "torch_shm_manager":
            tool.unlink()
    _compile(work / "site", say)
    packed = work / "site.tar"
    with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(work / "site", arcname=".", filter=_plain)
    shutil.rmtree(work / "site")
    return packed


def _compile(site: Path, say: Say) -> None:
    """Python's files are compiled, as pip leaves them: else each of vLLM's processes does it again at each start."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" != PYTHON:
        say(f"not compiled, for this is not Python {PYTHON}: vLLM will start slowly")
        return
    # The date of a file is not kept in the image, so it must not decide whether what was compiled is valid.
    compile_all = [sys.executable, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*compile_all, "-s", str(site), "-p", "/", str(site)], capture_output=True, check=False)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Owned by root, without times, readable by everybody."""
    if "/tests/" in member.name:
        return None
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def _layer(layout: Path, tar: Path) -> tuple[oci.Blob, str]:
    """One layer from a tar; returns its blob and its diff id. Fast rather than small: it goes over no network."""
    plain, fresh = hashlib.sha256(), layout / "layer.new"
    with fresh.open("wb") as out, gzip.GzipFile("", "wb", 1, out, mtime=0) as squeezed:
        for piece in _pieces(tar):
            plain.update(piece)
            squeezed.write(piece)
    tar.unlink()
    packed = hashlib.sha256()
    for piece in _pieces(fresh):
        packed.update(piece)
    blob = oci.Blob(LAYER_TYPE, f"sha256:{packed.hexdigest()}", fresh.stat().st_size)
    (layout / blob.path).parent.mkdir(parents=True, exist_ok=True)
    fresh.rename(layout / blob.path)
    return blob, f"sha256:{plain.hexdigest()}"


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            yield piece


def _config(diff_ids: list[str]) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1"],
            "Labels": {"phi4-edge.stand-in": "vLLM for CPUs, built from a package index"},
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "mmdebstrap"}, {"created_by": "uv pip install"}],
    }


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
    return target


def _try(*command: str) -> int:
    return subprocess.run(command, capture_output=True, check=False).returncode


def _run(*command: str, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")


def main() -> None:
    """Build, and hand over as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", action="store_true", help="load the image into this machine's Docker")
    parser.add_argument("--store", type=Path, help="have it in the store in this directory")
    asked = parser.parse_args()
    try:
        layout = build()
    except NoTorchError as error:
        raise SystemExit(str(error)) from None
    tell(str(layout))
    if asked.load:
        tell(load(layout))
    if asked.store:
        tell(adopt(layout, Store(asked.store)))


if __name__ == "__main__":
    main()
