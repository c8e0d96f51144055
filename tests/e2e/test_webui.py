"""The chat page beside a native engine, on a host with Docker: with the image of the stand-in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi4_edge import lab as lab_room
from tests.e2e import warm_engine
from tests.e2e.gateway import Cli, Gateway

pytestmark = pytest.mark.e2e
NAME = f"webui-{os.getpid()}"
# The lab's Docker is Debian 13's, which carries the corrections that its number does not show.
SETTINGS = "webui_enabled=true\nphi4_accept_below_floor=docker,runc\n"
SIGNUP = """curl -sS -d '{"name": "x", "email": "x@y.example", "password": "12345678"}' \\
  http://127.0.0.1:3000/api/v1/auths/signup"""


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


def signin(gateway: Gateway, password: str) -> dict[str, object]:
    """What the page says to its administrator; the password goes over standard input."""
    body = json.dumps({"email": "admin@localhost", "password": password})
    found: dict[str, object] = json.loads(
        gateway.sh("curl -sS --data-binary @- http://127.0.0.1:3000/api/v1/auths/signin", stdin=body)
    )
    return found


def typed(gateway: Gateway, question: str) -> dict[str, object]:
    """What comes of a question that somebody types on the page: answer or error, and each request to the engine."""
    body = json.dumps({"question": question})
    found: dict[str, object] = json.loads(
        gateway.sh("curl -sS --max-time 120 --data-binary @- http://127.0.0.1:3000/standin/ask", stdin=body)
    )
    return found


def test_the_page_comes_with_the_engine_and_goes_with_it(ready: Cli, site: tuple[Gateway, Path]) -> None:
    gateway, inventory = site
    before = gateway.tree()
    warm_engine.bring(ready, gateway.lab)
    first = ready.run("provision", inventory, "--yes").expect(0)
    shown = re.findall(
        r"administrator is admin@localhost, password (\S+) \(shown this once only", first.out + first.err
    )
    assert len(shown) == 1, first.out + first.err
    assert signin(gateway, shown[0]) == {"email": "admin@localhost", "role": "admin"}
    everywhere = (
        "docker inspect $(docker ps --quiet); journalctl --no-pager; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
    )
    assert shown[0] not in gateway.sh(f"{everywhere} | tr '\\0' ' '", code=None)
    found = gateway.sh("grep -rlF -f - /opt/phi4-edge /var/lib/phi4-edge /run /etc", code=None, stdin=shown[0])
    assert found == ""
    kept = [path for path in (ready.home / "state").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if shown[0].encode() in path.read_bytes()]
    assert get(gateway, "/health") == {"status": True}
    assert get(gateway, "/standin/models") == {"data": ["phi-4-mini-instruct"]}
    assert gateway.sh("stat -c '%u %a' /var/lib/phi4-edge/webui/.webui_secret_key").split() == ["65532", "600"]
    secret = gateway.sh("cat /var/lib/phi4-edge/webui/.webui_secret_key").strip()
    assert len(secret) > 40
    assert secret not in gateway.sh("docker inspect $(docker ps --quiet); journalctl --no-pager; ps axww")
    assert "127.0.0.1:3000" in gateway.sh("ss --no-header -ltn")
    assert "permission" in gateway.sh(SIGNUP)
    done = typed(gateway, "What is the capital of Korea?")
    assert done["answer"]
    ((purpose, size),) = done["sent"]
    assert purpose == "answer" and size < 150, "the page asks for more than the answer"
    again = ready.run("provision", inventory, "--yes", "--output", "json").expect(0)
    assert again.result["changed"] == 0
    ready.run("verify", inventory, "--max-tokens", "16").expect(0)

    ready.run("remove", inventory, "--yes").expect(0)
    assert gateway.sh("docker ps --all --quiet; docker images --all --quiet; docker volume ls --quiet") == ""
    assert gateway.tree() == before


@pytest.mark.full
def test_without_the_page_its_container_goes_and_its_chats_stay(ready: Cli, site: tuple[Gateway, Path]) -> None:
    gateway, inventory = site
    warm_engine.bring(ready, gateway.lab)
    secret = inventory.with_name("secret.yml")
    secret.write_text('{"all": {"vars": {"webui_admin_password": "of the inventory"}}}')
    done = ready.run("provision", inventory, secret, "--yes").expect(0)
    assert "of the inventory" not in done.out + done.err
    assert "shown this once only" not in done.out + done.err
    assert signin(gateway, "of the inventory")["role"] == "admin"
    accounts = gateway.sh("cat /var/lib/phi4-edge/webui/webui.db")
    without = inventory.with_name("without.ini")
    without.write_text(inventory.read_text().replace("webui_enabled=true", "webui_enabled=false"))
    ready.run("provision", without, "--yes").expect(0)
    assert gateway.sh("docker ps --all --quiet") == ""
    assert gateway.sh("cat /var/lib/phi4-edge/webui/webui.db") == accounts
    gateway.sh("! systemctl cat phi4-edge-webui")
    # Back again, with the page's own tools, which no default context holds: the plan says so, and so does the engine.
    tools = inventory.with_name("tools.yml")
    tools.write_text('{"all": {"vars": {"webui_builtin_tools": true}}}')
    done = ready.run("provision", inventory, tools, "--yes").expect(0)
    assert "webui_builtin_tools: the page's tools take about 6000 tokens" in done.out + done.err
    assert "shown this once only" not in done.out + done.err
    assert signin(gateway, "of the inventory")["role"] == "admin"  # the administrator of before is still there
    assert "permission" in gateway.sh(SIGNUP)
    assert "context length is 4096 tokens" in str(typed(gateway, "What is the capital of Korea?")["error"])
