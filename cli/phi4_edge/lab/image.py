"""The root file system of lab hosts: built from its recipe, cached in the Docker engine under the recipe's hash."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shlex
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi4_edge.environment import Need, allowed
from phi4_edge.errors import LabError
from phi4_edge.lab import machine, recipe
from phi4_edge.lab.recipe import STAGE, Recipe

if TYPE_CHECKING:
    from docker import DockerClient

IMAGE_LABEL = "phi4-edge.lab.image"  # its value is the name of the recipe
_GRACE = 20  # seconds that mmdebstrap may take to end after Ctrl-C
_TAIL = 2000  # characters of a failed build's output worth showing


def ensure(client: DockerClient, kind: str, system: str, lock: Path, progress: Callable[[str], None]) -> str:
    """The tag of an image made from the present recipe; builds it when the engine has none, and drops outdated ones.

    Of several runs at once one builds: each holds the directory `lock` meanwhile. Who finds his image waits for nobody.
    Raises LabError when the image cannot be built here.
    """
    wanted = recipe.recipe(kind, machine.local_certificates(), system)
    if client.images.list(name=wanted.tag):
        return wanted.tag
    with _locked(lock):
        for one in (wanted.lender, wanted):
            if one and not client.images.list(name=one.tag):
                _build(client, one, progress)
                remove_images(client, one.name, keep=one.tag)
    return wanted.tag


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _build(client: DockerClient, wanted: Recipe, progress: Callable[[str], None]) -> None:
    progress(f"building the image {wanted.tag} ({wanted.system}); the next lab finds it ready")
    overlay = recipe.join(wanted.overlay, _borrow(client, wanted)) if wanted.lender else wanted.overlay
    if shutil.which("mmdebstrap"):
        _bootstrap(client, wanted, overlay)
    else:
        progress("mmdebstrap is not installed: building on the Docker image of Debian instead")
        _build_from_registry(client, wanted, overlay)


def _borrow(client: DockerClient, wanted: Recipe) -> dict[str, bytes]:
    """The borrowed programs and the libraries that they are linked with by path, from the image that has them."""
    assert wanted.lender is not None  # noqa: S101 - the caller asked
    programs = " ".join(map(shlex.quote, wanted.borrowed))
    paths = f"{programs} $(ldd {programs} | grep -o '/[^ :]*' | sort -u)"
    listing = f"for path in {paths}; do readlink -f $path; echo $path; done"
    container = client.containers.create(
        wanted.lender.tag, [listing], entrypoint=["/bin/sh", "-c"], network_disabled=True
    )
    try:
        container.start()
        container.wait()
        lines = container.logs(stdout=True, stderr=False).decode().splitlines()
        return {path: _file(container, real) for real, path in zip(lines[::2], lines[1::2], strict=True)}
    finally:
        container.remove(force=True)


def _file(container: Any, path: str) -> bytes:
    chunks, _ = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        member = tar.extractfile(tar.getmembers()[0])
        if member is None:
            raise LabError(f"found no file {path} in the image that others borrow it from")
        return member.read()


def bootstrap_command(wanted: Recipe, overlay: Path, target: Path, *, root: bool) -> list[str]:
    """The mmdebstrap invocation that makes `target`, a tar of the root file system.

    As root it gets namespaces of its own: killing it ends all that it started, and this machine's /dev and /sys, which
    it mounts into the new root, are never seen by what removes its files later. Other users get theirs from mmdebstrap.
    """
    isolation = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"] if root else []
    return [
        *isolation,
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={','.join(wanted.packages)}",
        f"--customize-hook=tar-in {overlay} /",
        f'--customize-hook=chroot "$1" /{STAGE}/customize.sh',
        f'--customize-hook=rm -r "$1/{STAGE}"',
        wanted.suite,
        str(target),
    ]


def _bootstrap(client: DockerClient, wanted: Recipe, content: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="phi4-edge-image-") as folder:
        # mmdebstrap without root works as another user of its own namespace, who must be able to read this.
        Path(folder).chmod(0o755)
        overlay, target = Path(folder, "overlay.tar"), Path(folder, "root.tar")
        overlay.write_bytes(content)
        _run(bootstrap_command(wanted, overlay, target, root=os.geteuid() == 0), folder)
        repository, tag = wanted.tag.split(":")
        answer = client.api.import_image_from_file(
            str(target), repository=repository, tag=tag, changes=[f"LABEL {IMAGE_LABEL}={wanted.name}"]
        )
    if not client.images.list(name=wanted.tag):
        raise LabError(f"the Docker engine did not take the lab's image: {str(answer)[-_TAIL:]}")


def _run(command: Sequence[str], folder: str) -> None:
    """Run mmdebstrap with its temporary files in `folder`. Raises LabError with the end of its output."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**allowed(os.environ, Need.NETWORK), "LC_ALL": "C.UTF-8", "TMPDIR": folder},
        process_group=0,  # Ctrl-C reaches it through us, once
    ) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            _stop(process)
            raise
    if process.returncode != 0:
        raise LabError(
            f"mmdebstrap could not make the lab's image (exit {process.returncode}):\n{output[-_TAIL:].strip()}\n"
            "It needs a Debian mirror, on Ubuntu the package debian-archive-keyring, and root or user namespaces."
        )


def _stop(process: subprocess.Popen[str]) -> None:
    """End mmdebstrap and all of its children; none of them is left to write when this returns."""
    if os.geteuid() == 0:
        # The first process of the namespace, not `unshare` above it: that one then ends after the last of the others.
        first = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        os.kill(int(first[0]) if first else process.pid, signal.SIGKILL)
    else:
        # Its files belong to other user numbers, and only its own cleaning up can remove them.
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.communicate(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def dockerfile(wanted: Recipe) -> str:
    """The same recipe for machines that have an image registry but no mmdebstrap."""
    install = "apt-get install --yes --no-install-recommends"
    return "\n".join(
        [
            f"FROM debian:{wanted.suite}-slim",
            f"RUN apt-get update && {install} {' '.join(wanted.packages)} && rm -rf /var/lib/apt/lists/*",
            "ADD overlay.tar /",
            f"RUN /{STAGE}/customize.sh && rm -r /{STAGE}",
            f"LABEL {IMAGE_LABEL}={wanted.name}",
            "",
        ]
    )


def _build_from_registry(client: DockerClient, wanted: Recipe, overlay: bytes) -> None:
    from docker.errors import APIError, BuildError

    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        recipe.add(tar, "Dockerfile", dockerfile(wanted).encode(), 0o644)
        recipe.add(tar, "overlay.tar", overlay, 0o644)
    context.seek(0)
    try:
        client.images.build(fileobj=context, custom_context=True, tag=wanted.tag, rm=True, forcerm=True)
    except (APIError, BuildError) as error:
        raise LabError(
            f"the lab's image could not be built: {error}. Install mmdebstrap (`apt-get install mmdebstrap`), "
            f"or make debian:{wanted.suite}-slim available to the Docker engine"
        ) from error


def remove_images(client: DockerClient, name: str | None = None, keep: str | None = None) -> int:
    """Remove the lab's cached images (of one recipe, except `keep`) that no container uses; returns how many went."""
    from docker.errors import APIError

    label = f"{IMAGE_LABEL}={name}" if name else IMAGE_LABEL
    removed = 0
    for old in client.images.list(filters={"label": label}):
        if keep in old.tags:
            continue
        try:
            for reference in old.tags or [str(old.id)]:
                client.images.remove(reference)
        except APIError as error:
            if error.status_code != 409:  # in use by a container of another lab: it goes when that one is rebuilt
                raise
            continue
        removed += 1
    return removed
