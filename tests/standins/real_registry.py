"""docker-registry itself on loopback, for as long as a test runs, and what Docker or a test pushes into it."""

from __future__ import annotations

import hashlib
import io
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

PROGRAM, DOCKER = shutil.which("docker-registry"), shutil.which("docker")
_CONFIG = (
    "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\nhttp: {{addr: {addr}}}\n"
)


def usable() -> bool:
    """Whether the registry and a Docker that answers are on this machine."""
    if not PROGRAM or not DOCKER:
        return False
    return subprocess.run([DOCKER, "info"], capture_output=True, check=False).returncode == 0


def docker(*argv: str, data: bytes = b"") -> str:
    done = subprocess.run([str(DOCKER), *argv], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A running registry with its files in `folder`; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "registry.yml").write_text(_CONFIG.format(root=folder / "registry", addr=address))
    argv = [str(PROGRAM), "serve", str(folder / "registry.yml")]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _attempt in range(300):
                with suppress(OSError), urllib.request.urlopen(f"http://{address}/v2/", timeout=5):
                    break
                time.sleep(0.1)
            yield address
        finally:
            process.kill()


def push(name: str, content: bytes) -> str:
    """An image with one file lies in the registry as `name`, and no longer in Docker; its id."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("etc/thing")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    made = docker("import", "-", name, data=packed.getvalue())
    try:
        docker("push", "--quiet", name)
    finally:
        docker("image", "rm", name)
    return made


def upload(address: str, repository: str, tag: str, kind: str, document: bytes, blobs: Iterable[bytes]) -> None:
    """A manifest of this type lies in the registry with its blobs, through the registry's own protocol."""
    base = f"http://{address}/v2/{repository}"
    for blob in blobs:
        began = requests.post(f"{base}/blobs/uploads/", timeout=30)
        assert began.status_code == 202, began.text
        place, digest = began.headers["Location"], f"sha256:{hashlib.sha256(blob).hexdigest()}"
        done = requests.put(place, params={"digest": digest}, data=blob, timeout=30)
        assert done.status_code == 201, done.text
    put = requests.put(f"{base}/manifests/{tag}", data=document, headers={"Content-Type": kind}, timeout=30)
    assert put.status_code == 201, put.text
