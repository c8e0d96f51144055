"""The chat page beside a native engine, on a host with Docker: with the image of the stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_support import Cli, Gateway

from phi4_edge import lab as lab_room

pytestmark = pytest.mark.e2e
NAME = f"webui-{os.getpid()}"
# The lab's Docker is Debian 13's, which carries the corrections that its number does not show.
SETTINGS = "webui_enabled=true\nphi4_accept_below_floor=docker,runc\n"


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Path]]:
    """One host, and an inventory that wants the page there."""
    image = Path(__file__).parents[1] / "standins" / "webui_image.py"
    subprocess.run([sys.executable, str(image), "--store", str(ready.store)], check=True, capture_output=True)
    made = lab_room.up(NAME, lab_room.load_profiles().choose(["gateway-8gb"]), kind="docker")
    inventory = tmp_path_factory.mktemp("webui") / "site.ini"
    inventory.write_text(made.inventory.read_text() + SETTINGS)
    yield Gateway(made, "gw1"), inventory
    lab_room.down(NAME)


def get(gateway: Gateway, path: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(gateway.sh(f"curl -sS --max-time 20 http://127.0.0.1:3000{path}"))
    return found


def test_the_page_comes_with_the_engine_and_goes_with_it(ready: Cli, site: tuple[Gateway, Path]) -> None:
    gateway, inventory = site
    before = gateway.tree()
    ready.run("provision", inventory, "--yes").expect(0)
    assert get(gateway, "/health") == {"status": True}
    assert get(gateway, "/standin/models") == {"data": ["phi-4-mini-instruct"]}
    assert gateway.sh("stat -c '%u %a' /var/lib/phi4-edge/webui/.webui_secret_key").split() == ["65532", "600"]
    secret = gateway.sh("cat /var/lib/phi4-edge/webui/.webui_secret_key").strip()
    assert len(secret) > 40
    assert secret not in gateway.sh("docker inspect $(docker ps --quiet); journalctl --no-pager; ps axww")
    assert "127.0.0.1:3000" in gateway.sh("ss --no-header -ltn")
    signup = 'curl -sS -d \'{"email": "a@b"}\' http://127.0.0.1:3000/api/v1/auths/signup'
    assert json.loads(gateway.sh(signup))["role"] == "admin"
    assert "permission" in gateway.sh(signup)
    again = ready.run("provision", inventory, "--yes", "--output", "json").expect(0)
    assert again.result["changed"] == 0
    ready.run("verify", inventory, "--max-tokens", "16").expect(0)

    ready.run("remove", inventory, "--yes").expect(0)
    assert gateway.sh("docker ps --all --quiet; docker images --all --quiet; docker volume ls --quiet") == ""
    assert gateway.tree() == before


def test_without_the_page_its_container_goes_and_its_chats_stay(ready: Cli, site: tuple[Gateway, Path]) -> None:
    gateway, inventory = site
    ready.run("provision", inventory, "--yes").expect(0)
    gateway.sh('curl -sS -d \'{"email": "a@b"}\' http://127.0.0.1:3000/api/v1/auths/signup')
    without = inventory.with_name("without.ini")
    without.write_text(inventory.read_text().replace("webui_enabled=true", "webui_enabled=false"))
    ready.run("provision", without, "--yes").expect(0)
    assert gateway.sh("docker ps --all --quiet") == ""
    assert gateway.sh("cat /var/lib/phi4-edge/webui/webui.db") == "a@b\n"
    gateway.sh("! systemctl cat phi4-edge-webui")
    ready.run("provision", inventory, "--yes").expect(0)
    signup = 'curl -sS -d \'{"email": "c@d"}\' http://127.0.0.1:3000/api/v1/auths/signup'
    assert "permission" in gateway.sh(signup)  # the administrator of before is still there
