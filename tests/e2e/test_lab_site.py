"""A lab that is like a closed site: no way out, a mirror to install from, Docker in some hosts, a simulated GPU."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.lab import docker
from phi4_edge.lab.model import LABEL, Lab
from tests.e2e.gateway import ROOT, Cli, Gateway

pytestmark = pytest.mark.e2e
NAME = f"lab-site-{os.getpid()}"
WEBUI = Path(__file__).parents[1] / "standins" / "webui_image.py"
GOLDEN = ROOT / "tests" / "golden"
DOCUMENTS = sorted(GOLDEN.glob("*/*/compose.yml"))
CHECK = """
mkdir /run/golden && cd /run/golden && tar -x
for file in */*/compose.yml; do
  said=$(docker compose --file "$file" config --quiet 2>&1)
  if [ $? = 0 ] && [ -z "$said" ]; then echo "accepted $file"; else echo "$file: $said"; fi
done
"""
PROFILES = ("fake-gpu-rtx3060-16gb", "gateway-8gb", "fake-gpu-no-driver-16gb")


@pytest.fixture(scope="module")
def site() -> Iterator[Lab]:
    chosen = lab_room.load_profiles().choose(PROFILES)
    yield lab_room.up(NAME, chosen, kind=("bare", "docker", "bare"), offline=True, with_mirror=True)
    lab_room.down(NAME)
    with docker.connect() as client:
        chosen = {"label": f"{LABEL}={NAME}"}
        assert client.containers.list(all=True, filters=chosen) == []
        assert client.networks.list(filters=chosen) == []
        assert client.volumes.list(filters=chosen) == []


@pytest.fixture
def gpu(site: Lab) -> Gateway:
    return Gateway(site, "gw1")


@pytest.fixture
def docked(site: Lab) -> Gateway:
    return Gateway(site, "gw2")


@pytest.mark.full
def test_nothing_gets_out_and_ssh_gets_in(site: Lab, gpu: Gateway, docked: Gateway) -> None:
    for host in (gpu, docked):  # each of these commands got in over SSH
        assert host.sh("getent hosts example.org", code=2) == ""
        # 9.9.9.9 answers on port 53 wherever there is a way out.
        host.sh("timeout 3 bash -c 'exec 3<>/dev/tcp/9.9.9.9/53'", code=124)
        assert host.sh("curl -sS --max-time 5 http://mirror:8000/ -o /dev/null -w '%{http_code}'") == "200"
    gpu.sh(f"timeout 3 bash -c 'exec 3<>/dev/tcp/{site.host('gw2').address}/22'")


def test_the_mirror_serves_ranges_of_what_was_published(site: Lab, gpu: Gateway, tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "archive.bin").write_bytes(b"0123456789")
    address = lab_room.mirror.publish(site, tmp_path / "release", "/ollama/v1.0.0") + "/archive.bin"
    request = urllib.request.Request(address, headers={"Range": "bytes=4-"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert (answer.status, answer.read()) == (206, b"456789")
    assert gpu.sh("curl -sS -r 0-3 http://mirror:8000/ollama/v1.0.0/archive.bin") == "0123"


def test_an_image_goes_to_the_registry_and_comes_back_by_digest(site: Lab, docked: Gateway) -> None:
    name = "mirror:5000/vendor/tool"
    docked.sh(f"tar --create /etc/hostname | docker import - {name}:1 && docker push -q {name}:1")
    (pinned,) = json.loads(docked.sh(f"docker image inspect -f '{{{{json .RepoDigests}}}}' {name}:1"))
    docked.sh(f"docker image rm {name}:1 && docker pull -q {pinned}")
    with urllib.request.urlopen(f"http://{lab_room.mirror.registry(site)}/v2/_catalog", timeout=5) as answer:
        assert "vendor/tool" in json.load(answer)["repositories"]


def test_an_image_of_a_store_is_pushed_from_here_and_pulled_by_a_host(
    site: Lab, docked: Gateway, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, str(WEBUI), "--store", str(tmp_path)], check=True, capture_output=True)
    (layout,) = (tmp_path / "images").iterdir()
    digest = lab_room.mirror.push(site, layout, "standin/open-webui", "1")
    assert digest == f"sha256:{layout.name}"
    assert lab_room.mirror.push(site, layout, "standin/open-webui", "1") == digest
    assert digest in docked.sh(f"docker pull mirror:5000/standin/open-webui@{digest}")


def test_docker_is_where_it_was_asked_for(gpu: Gateway, docked: Gateway) -> None:
    assert gpu.sh("command -v docker || echo none").strip() == "none"
    assert docked.sh("docker info --format '{{.Driver}}'").strip() == "overlay2"


def packed(documents: list[Path]) -> bytes:
    """A tar of the documents, each with all its folders' names."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for document in documents:
            archive.add(document, document.relative_to(GOLDEN))
    return data.getvalue()


def test_compose_of_a_host_accepts_every_golden_document_without_a_word(site: Lab) -> None:
    argv = lab_room.ssh_command(site, site.host("gw2"), ["sudo", "sh", "-c", CHECK])
    done = subprocess.run(argv, input=packed(DOCUMENTS), capture_output=True, timeout=300, check=False)
    wanted = [f"accepted {document.relative_to(GOLDEN)}" for document in DOCUMENTS]
    assert len(wanted) > 40
    assert done.stdout.decode().splitlines() == wanted, done.stderr.decode()


def test_the_mirror_is_listed_and_is_no_host_of_the_inventory(site: Lab, cli: Cli) -> None:
    (mine,) = [lab for lab in json.loads(cli.run("lab", "list", "--output", "json").out)["labs"] if lab["name"] == NAME]
    assert [(host["name"], host["state"]) for host in mine["hosts"]] == [
        ("gw1", "running"),
        ("gw2", "running"),
        ("gw3", "running"),
        ("mirror", "running"),
    ]
    assert "mirror" not in site.inventory.read_text()


def test_a_simulated_gpu_is_planned_for_as_the_real_card_is(site: Lab, cli: Cli) -> None:
    done = cli.run("plan", site.inventory, "--limit", "gw1", "--set", "phi4_model=phi-4-mini-instruct", "-o", "json")
    (plan,) = json.loads(done.expect(0).out)["plans"]
    chosen = (plan["profile"], plan["engine"], plan["quantization"], plan["image"]["cuda"])
    assert chosen == ("production_gpu", "vllm", "bf16", "12.9")


def test_a_card_without_a_driver_is_on_the_bus_alone(site: Lab) -> None:
    host = Gateway(site, "gw3")
    assert host.sh("cat /sys/bus/pci/devices/*/vendor").split() == ["0x10de"]
    assert host.sh("command -v nvidia-smi || echo none").strip() == "none"


def test_ssh_reaches_the_mirror_too(site: Lab) -> None:
    argv = lab_room.ssh_command(site, site.host("mirror"), ["systemctl", "is-active", "docker-registry", "nginx"])
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["active", "active"]
