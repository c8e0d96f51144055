"""Small images in a store, and this machine's Docker as the "host" that gets them."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.images import oci
from phi4_edge.artifacts.images.held import Wanted, keep
from phi4_edge.artifacts.images.registry import OCI_MANIFEST
from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.image_reference import local_name
from tests.ansible.plays import Played, play, role, write_inventory, write_playbook

DOCKER = shutil.which("docker") or ""


def docker(*argv: str, check: bool = True) -> str:
    done = subprocess.run([DOCKER, *argv], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"docker {argv}: {done.stderr}"
    return done.stdout.strip()


def docker_runs() -> bool:
    return bool(DOCKER) and subprocess.run([DOCKER, "info"], capture_output=True, check=False).returncode == 0


def machine() -> str:
    """Architecture of this machine's Docker, as images name it."""
    return docker("version", "--format", "{{.Server.Arch}}")


class Bench:
    """A store with images, and the playbook that has them in Docker."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(folder / "store")
        self.staging = folder / "host" / "staging"
        self.staging.parent.mkdir()
        self.repository = f"example/t{uuid.uuid4().hex[:12]}"
        self.planned: dict[str, Any] = {}
        self.mirror = ""
        self.inventory = write_inventory(folder, {"here": {}})

    def image(self, tag: str, *layers: dict[str, bytes]) -> dict[str, Any]:
        """An image of these layers in the store; a plan's `image`, which is also what the next run delivers."""
        wanted = Wanted(f"{self.repository}:{tag}/{machine()}", self.repository, tag, machine(), "", False)
        with self.store.workspace("test") as work:
            layout = work / "layout"
            layout.mkdir()
            made = [oci.write_layer(items(files), layout, oci.GZIP_TYPES[OCI_MANIFEST]) for files in layers]
            config = oci.encode({
                "os": "linux", "architecture": machine(), "config": {"Cmd": ["/none"]},
                "rootfs": {"type": "layers", "diff_ids": [diff_id for _blob, diff_id in made]},
            })  # fmt: skip
            blob = oci.write_blob(layout, oci.CONFIG_TYPES[OCI_MANIFEST], config)
            image = oci.write_manifest(layout, OCI_MANIFEST, blob, [layer for layer, _diff_id in made])
            held = keep(Images(self.store), wanted, image, layout, {"kind": "test"}, replace=False)
        self.planned = {
            "repository": self.repository, "tag": tag, "architecture": machine(), "key": held.key,
            "digest": held.digest,
        }  # fmt: skip
        return self.planned

    @property
    def folder_of_image(self) -> Path:
        return Images(self.store).path(self.planned["digest"])

    @property
    def name(self) -> str:
        return local_name(self.repository, self.planned["tag"], self.planned["digest"])

    def deliver(self, *options: str, path: Path | None = None, **variables: Any) -> Played:
        own = {
            "artifact_store": str(self.store.root), "__artifact_images": {"engine": self.planned, "webui": None},
            "artifact_staging": str(self.staging), "artifact_piece_bytes": 65536, "artifact_reserve_bytes": 0,
            "artifact_retries": 0, "__artifact_image_delivery": "push", "__artifact_image_mirror": "",
        }  # fmt: skip
        task = role("artifact", **{**own, **variables})
        task["ansible.builtin.include_role"]["tasks_from"] = "image"
        more = {"PATH": f"{path}:{os.environ['PATH']}"} if path else {}
        return play(write_playbook(self.folder, task), self.inventory, "-v", *options, **more)

    def loaded(self) -> str:
        """Id of the image under our name, or ""."""
        return docker("image", "inspect", "--format", "{{.Id}}", self.name, check=False)

    def clean(self) -> None:
        every = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
        ours = [name for name in every if self.repository.rpartition("/")[2] in name]
        if ours:
            docker("image", "rm", "--force", *ours)


def items(files: dict[str, bytes]) -> list[oci.Item]:
    return [oci.Item(name, lambda data=data: io.BytesIO(data), len(data)) for name, data in files.items()]  # type: ignore[misc]


def sent(played: Played) -> int:
    """Bytes that a run says it has sent."""
    return int(played.output.split(" bytes sent and loaded")[0].rsplit(" ", 1)[1])


def wrapper(folder: Path, script: str) -> Path:
    """A folder with a `docker` that runs `script` first and then, unless that ended it, Docker itself."""
    folder.mkdir()
    path = folder / "docker"
    path.write_text(f'#!/bin/sh\n{script}\nexec {DOCKER} "$@"\n')
    path.chmod(0o755)
    return folder
