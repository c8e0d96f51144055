"""Room for images is that of the folder which Docker keeps them in, whatever moved it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.host_scripts import load
from tests.ansible.probe_run import place

image = load("artifact", "image")
CLASSIC, CONTAINERD = [["Backing Filesystem", "extfs"]], [["driver-type", "io.containerd.snapshotter.v1"]]


@pytest.mark.parametrize(
    ("status", "socket", "folder"),
    [
        (CLASSIC, True, "docker"),
        (CLASSIC, False, "docker"),
        (CONTAINERD, True, "containerd"),
        (CONTAINERD, False, "docker"),  # Docker has started a containerd of its own
    ],
)
def test_the_folder_that_images_are_in_is_measured_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: Any, socket: bool, folder: str
) -> None:
    (tmp_path / "containerd").mkdir()
    toml = place(tmp_path, "/config.toml", f'version = 2\nroot = "{tmp_path}/containerd"\n')
    monkeypatch.setattr(image.hostimages, "CONTAINERD_TOML", str(toml))
    monkeypatch.setattr(image.hostimages, "CONTAINERD_SOCKET", str(toml if socket else tmp_path / "none"))
    info = json.dumps({"ServerVersion": "29.0.0", "DockerRootDir": f"{tmp_path}/docker", "DriverStatus": status})
    monkeypatch.setattr(image, "run", lambda argv, *_: (0, info if argv[0] == "info" else "", ""))
    answer = image.survey({"images": {}, "staging": str(tmp_path)}, b"")
    assert answer["docker_root"] == f"{tmp_path}/{folder}" and answer["docker_free"] > 0
    monkeypatch.setattr(image, "stream", lambda _folder: (1, "write /layer.tar: no space left on device"))
    with pytest.raises(image.HostError, match=rf"became full: \d+ bytes are free at {tmp_path}/{folder} now"):
        image.load({"image": {"key": "x"}, "folder": str(tmp_path / "staged")}, b"")
