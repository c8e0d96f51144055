"""Where Docker keeps images, which settings move: the disk that counts, and the path that is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from phi4_edge.core.facts import parse as facts_parse

Make = Callable[..., Any]
GPU = "xeon-rtx3060-driver570"
GB = 10**9
OVERLAY, CONTAINERD = "overlay2 [[Backing Filesystem extfs]]", "overlayfs [[driver-type io.containerd.snapshotter.v1]]"
ELSEWHERE = {"docker": "/mnt/nvme/docker", "containerd": "/data/containerd"}


def disks(**free: int) -> str:
    """Free GB of each file system; where images would go if nothing moved them there are 20."""
    found = {"/opt/phi4-edge": 100, "/var/lib/phi4-edge": 100, "/var/lib/docker": 20, "/var/lib/containerd": 20}
    found |= {"/etc": 100, **{f"/{name.replace('__', '/')}": size for name, size in free.items()}}
    devices = {"/var/lib/docker": 2, "/var/lib/containerd": 5, "/mnt/nvme/docker": 3, "/data/containerd": 4}
    return "\n".join(f"{path} {900 * GB} {size * GB} {devices.get(path, 1)}" for path, size in found.items())


def roots(docker: str = "/var/lib/docker", containerd: str = "/var/lib/containerd") -> str:
    return f"docker {docker}\ncontainerd {containerd}"


CASES = {
    # What Docker is like, its roots, GB free there; the path that counts.
    "at home": (OVERLAY, roots(), {"var__lib__docker": 20}, "/var/lib/docker"),
    "Docker moved": (
        OVERLAY, roots(**ELSEWHERE), {"mnt__nvme__docker": 20, "data__containerd": 800}, "/mnt/nvme/docker"
    ),
    "containerd at home": (CONTAINERD, roots(), {"var__lib__containerd": 20}, "/var/lib/containerd"),
    "containerd moved": (
        CONTAINERD, roots(**ELSEWHERE), {"data__containerd": 20, "mnt__nvme__docker": 800}, "/data/containerd"
    ),
    "a containerd of Docker's own": (
        CONTAINERD, roots("/mnt/nvme/docker", "/mnt/nvme/docker"), {"mnt__nvme__docker": 20}, "/mnt/nvme/docker"
    ),
    "beside our own files": (OVERLAY, roots("/var/lib/phi4-edge"), {"var__lib__phi4-edge": 20}, "/var/lib/phi4-edge"),
    "a path with spaces": (OVERLAY, roots("/mnt/My Disk/docker"), {"mnt__My Disk__docker": 20}, "/mnt/My Disk/docker"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_disk_of_images_is_where_docker_keeps_them(document: Make, plan: Make, name: str) -> None:
    info, told, free, path = CASES[name]
    small = document(GPU, docker_info=info, image_roots=told, disk=disks(**free))
    assert facts_parse.parse(small).images.path == path
    made = plan(small)
    assert made.engine == "ollama"
    (why, *_) = [item["reason"] for item in made.rejected if item["engine"] == "vllm"]
    assert why.endswith("GB can be used") and path in why
    large = document(GPU, docker_info=info, image_roots=told, disk=disks(**dict.fromkeys(free, 800)))
    assert plan(large).engine == "vllm"
    # Nothing to write to is as bad there as anywhere.
    flags = f"ext4 /dev/sda1 ro {path}\next4 /dev/sda2 - /etc"
    blocked = plan(document(GPU, docker_info=info, image_roots=told, disk=disks(**dict.fromkeys(free, 800)),
                            filesystems=flags)).blockers  # fmt: skip
    assert any(f"{path} is on a file system that is mounted read-only, needed" in text for text in blocked)


def test_facts_that_do_not_tell_are_named_where_something_may_have_moved_images(document: Make, plan: Make) -> None:
    told = (
        "do not say that Docker keeps its images below /var/lib/docker: make them again with `phi4-edge detect --raw`"
    )
    for sources in ({"daemon_json": "64"}, {"docker_info": CONTAINERD}):
        small = plan(document(GPU, disk=disks(), **sources))
        assert told in " ".join(item["reason"] for item in small.rejected)
        assert told in " ".join(plan(document(GPU, disk=disks(var__lib__docker=800), **sources)).warnings)
        native = plan(document(GPU, disk=disks(), **sources), engine="ollama")
        assert told not in " ".join((*native.warnings, *native.reasons))
    for sources in ({}, {"daemon_json": "64", "image_roots": roots()}):
        whole = plan(document(GPU, disk=disks(var__lib__docker=800), **sources))
        assert whole.engine == "vllm" and told not in " ".join(whole.warnings)


@pytest.mark.parametrize(
    "told", ["", "nonsense", "docker", "docker relative/path", "docker \ncontainerd", "docker /a\x1b[31m\ndocker /b"]
)
def test_what_a_host_says_of_its_paths_is_data(document: Make, plan: Make, told: str) -> None:
    whole = document(GPU, image_roots=told)
    found = facts_parse.parse(whole)
    assert found.images.path.startswith("/") and found.images.path.isprintable()
    assert plan(whole).fits


def test_a_root_that_the_inventory_will_set_is_named_until_it_is_measured(document: Make, plan: Make) -> None:
    moved = {"phi4_docker_daemon": {"data-root": "/mnt/nvme/docker", "live-restore": True}}
    told = (
        "phi4_docker_daemon sets data-root /mnt/nvme/docker, whose room was not measured, but that of /var/lib/docker"
    )
    before = {"docker_info": OVERLAY, "image_roots": roots(), "disk": disks(var__lib__docker=800)}
    after = {"docker_info": OVERLAY, "image_roots": roots(**ELSEWHERE), "disk": disks(mnt__nvme__docker=800)}
    assert told in " ".join(plan(document(GPU, **before), **moved).warnings)
    in_json = {"phi4_docker_daemon": '{"data-root": "/mnt/nvme/docker/"}'}
    assert "data-root" in " ".join(plan(document(GPU, **before), **in_json).warnings)
    assert "data-root" not in " ".join(plan(document(GPU, **after), **in_json).warnings)
    for wishes in ({}, {"phi4_docker_daemon": {"live-restore": True}}, {**moved, "engine": "ollama"}):
        assert "data-root" not in " ".join(plan(document(GPU, **before), **wishes).warnings)
    # The root of Docker is not that of containerd's store.
    stored = {"docker_info": CONTAINERD, "image_roots": roots(), "disk": disks(var__lib__containerd=800)}
    assert "data-root" not in " ".join(plan(document(GPU, **stored), **moved).warnings)


def test_one_pool_is_counted_once_wherever_docker_is(document: Make, plan: Make) -> None:
    """Images on the disk of the models need its room too."""
    lines = "\n".join(f"{path} {900 * GB} {60 * GB} 1" for path in ("/opt/phi4-edge", "/var/lib/phi4-edge", "/data/d"))
    made = plan(document(GPU, image_roots=roots("/data/d"), docker_info=OVERLAY, disk=lines))
    assert made.engine == "vllm" and made.disk.available == 60 * GB
    less = plan(
        document(GPU, image_roots=roots("/data/d"), docker_info=OVERLAY, disk=lines.replace(str(60 * GB), str(40 * GB)))
    )
    assert "below /var/lib/phi4-edge and /data/d, 40.0 GB can be used" in " ".join(i["reason"] for i in less.rejected)
