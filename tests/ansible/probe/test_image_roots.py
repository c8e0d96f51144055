"""What the probe measures for images: where Docker says that it keeps them, or is set to."""

from __future__ import annotations

import json
from pathlib import Path

from tests.ansible.probe.test_probe import fake_tool
from tests.ansible.probe_run import place, probe

# Says what a template asks for, as docker does.
DOCKER = """
import sys
if sys.argv[1] != "info": sys.exit("no")
text = sys.argv[3]
known = {"Driver": "overlay2", "DriverStatus": "[[x]]", "DockerRootDir": "/mnt/nvme/docker"}
for name, value in known.items(): text = text.replace("{{." + name + "}}", value)
print(text)
"""
PATHS = ["/opt/phi4-edge", "/var/lib/phi4-edge", "/mnt/nvme/docker", "/var/lib/containerd", "/etc"]


def measured(root: Path, path: str) -> list[list[str]]:
    place(root, "/proc/self/mountinfo", "20 1 8:1 / / rw - ext4 /dev/root rw\n")
    sources = probe(root, path=path)
    return [
        [line.rsplit(None, 3)[0] for line in sources["disk"]["text"].split("\n")],
        [line.split(None, 1)[0] for line in sources["disk_pool"]["text"].split("\n")],
        [line.split(None, 3)[3] for line in sources["filesystems"]["text"].split("\n")],
    ]


def test_what_docker_names_is_measured(tmp_path: Path) -> None:
    root, tools = tmp_path / "root", tmp_path / "bin"
    fake_tool(tools, "docker", DOCKER)
    place(root, "/run/containerd/containerd.sock", "")
    place(root, "/etc/docker/daemon.json", json.dumps({"data-root": "/mnt/old"}))
    assert measured(root, f"{tools}:/usr/bin:/bin") == [PATHS] * 3
    sources = probe(root, path=f"{tools}:/usr/bin:/bin")
    assert sources["docker_info"]["text"] == "overlay2 [[x]]\n/mnt/nvme/docker\n"
    assert sources["image_roots"]["text"] == "docker /mnt/nvme/docker\ncontainerd /var/lib/containerd"


def test_without_an_answer_what_it_is_set_to_is_measured(tmp_path: Path) -> None:
    root, tools = tmp_path / "root", tmp_path / "bin"
    fake_tool(tools, "docker", "import sys; sys.exit('Cannot connect to the Docker daemon')")
    place(root, "/etc/docker/daemon.json", json.dumps({"data-root": "/mnt/nvme/docker"}))
    assert measured(root, f"{tools}:/usr/bin:/bin") == [PATHS] * 3
    assert probe(root, path=f"{tools}:/usr/bin:/bin")["docker_info"]["gap"] == "failed"


def test_what_podman_names_is_not_where_docker_will_keep_images(tmp_path: Path) -> None:
    root, tools = tmp_path / "root", tmp_path / "bin"
    podman = DOCKER.replace("/mnt/nvme/docker", "/home/podman/storage")
    podman = "import sys\nif 'ersion' in sys.argv[1]: sys.exit(print('Podman Engine Conmon '))\n" + podman
    fake_tool(tools, "docker", podman)
    assert "/home/podman" in probe(root, path=f"{tools}:/usr/bin:/bin")["docker_info"]["text"]
    place(root, "/etc/docker/daemon.json", json.dumps({"data-root": "/mnt/nvme/docker"}))
    assert measured(root, f"{tools}:/usr/bin:/bin") == [PATHS] * 3


def test_a_docker_that_hangs_costs_the_disks_nothing_but_time(tmp_path: Path) -> None:
    root, tools = tmp_path / "root", tmp_path / "bin"
    fake_tool(tools, "docker", "import time; time.sleep(600)")
    (root / "etc").mkdir(parents=True)
    sources = probe(root, path=f"{tools}:/usr/bin:/bin")
    assert sources["docker_info"]["gap"] == "timeout"
    assert "/var/lib/docker " in sources["disk"]["text"]
