"""Where Docker and containerd keep images: what runs says so, else the files that tell it where to begin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phi4_edge.remote.host import hostimages
from tests.ansible.probe_run import place

DOCKER, CONTAINERD = "/var/lib/docker", "/var/lib/containerd"
JSON, TOML, SOCKET = "/etc/docker/daemon.json", "/etc/containerd/config.toml", "/run/containerd/containerd.sock"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (None, DOCKER),
        ('{"data-root": "/mnt/nvme/docker"}', "/mnt/nvme/docker"),
        ('{"graph": "/mnt/sd/docker/"}', "/mnt/sd/docker"),
        ('{"data-root": "/a", "graph": "/b"}', "/a"),
        ('{"data-root": "/mnt/My Disk/docker"}', "/mnt/My Disk/docker"),
        ('{"data-root": "//srv/x/../docker"}', "/srv/docker"),
        ('{"data-root": "docker"}', DOCKER),
        ('{"data-root": ["/x"]}', DOCKER),
        ('{"data-root": "/a\\nb"}', DOCKER),
        ('{"data-root": "/' + "x" * 600 + '"}', DOCKER),
        ("[]", DOCKER),
        ("{", DOCKER),
        ("[" * 100_000, DOCKER),
        (" " * (2 << 20) + '{"data-root": "/a"}', DOCKER),
    ],
)
def test_without_an_answer_its_file_says_where_docker_begins(
    tmp_path: Path, settings: str | None, expected: str
) -> None:
    if settings is not None:
        place(tmp_path, JSON, settings)
    assert hostimages.roots("", str(tmp_path)) == (expected, CONTAINERD)
    # Who answers knows better, and not every answer is one.
    place(tmp_path, SOCKET, "")
    assert hostimages.roots("/mnt/told\n", str(tmp_path)) == ("/mnt/told", CONTAINERD)
    for nothing in ("<no value>", "<nil>", "relative/path", " "):
        assert hostimages.roots(nothing, str(tmp_path))[0] == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ('version = 2\nroot = "/mnt/nvme/containerd"\n[plugins]\n', "/mnt/nvme/containerd"),
        ("root='/mnt/c'  # a disk of its own\n", "/mnt/c"),
        ('#root = "/var/lib/containerd"\ndisabled_plugins = ["cri"]\n', CONTAINERD),
        ('[plugins."io.containerd.grpc.v1.cri"]\n  root = "/x"\n', CONTAINERD),
        ('state = "/run/x"\nroot_path = "/y"\n', CONTAINERD),
        ('root = ""\n', CONTAINERD),
        ("root = 7\n", CONTAINERD),
    ],
)
def test_containerd_has_a_folder_of_its_own(tmp_path: Path, settings: str, expected: str) -> None:
    place(tmp_path, SOCKET, "")
    place(tmp_path, TOML, settings)
    for said in ("", "/mnt/told"):
        assert hostimages.roots(said, str(tmp_path))[1] == expected
    # A Docker that runs without one has started its own.
    (tmp_path / SOCKET.lstrip("/")).unlink()
    assert hostimages.roots("/mnt/told", str(tmp_path)) == ("/mnt/told", "/mnt/told")
    assert hostimages.roots("", str(tmp_path)) == (DOCKER, expected)


def test_a_pipe_in_the_place_of_a_file_is_none(tmp_path: Path) -> None:
    path = place(tmp_path, JSON, "")
    path.unlink()
    os.mkfifo(path)
    assert hostimages.roots("", str(tmp_path))[0] == DOCKER
