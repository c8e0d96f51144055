"""The relay as a host runs it: what it sees of sockets and processes that are really there, and what it carries."""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.facts import listener
from phi4_edge.ssh import relay

TEXT = Path(relay.__file__).read_text(encoding="utf-8")
NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other users")


def test_it_needs_only_the_standard_library_of_python_3_8() -> None:
    tree = ast.parse(TEXT, feature_version=(3, 8))
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert {str(name).split(".")[0] for name in modules} <= sys.stdlib_module_names
    assert "from __future__ import annotations" in TEXT


@contextmanager
def started(*command: str, user: int | None = None, port: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-IBc", TEXT, "mark", "127.0.0.1", str(port)] if not command else list(command)
    with subprocess.Popen(words, user=user, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def greeting(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    assert process.stdout.readline() == b"\n"
    mark, _, text = process.stdout.readline().partition(b" ")
    assert mark == b"mark"
    return json.loads(text)


SERVE = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    while True:
        peer, _ = server.accept()
        try:
            peer.sendall(b"hello ")
            while data := peer.recv(4096):
                peer.sendall(data.upper())
        except OSError:
            pass  # who only looks hangs up
"""


@contextmanager
def server_of(user: int | None) -> Iterator[tuple[int, int]]:
    """Port and process of a server that runs as another user."""
    # Not the test's own interpreter, which other users may not be allowed to reach.
    with started("/usr/bin/python3", "-c", SERVE, user=user) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid


def test_it_carries_both_ways_and_ends_with_its_input() -> None:
    with server_of(None) as (port, _), started(port=port) as process:
        greeting(process)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.read(6) == b"hello "
        process.stdin.write(b"question")
        process.stdin.flush()
        assert process.stdout.read(8) == b"QUESTION"
        process.stdin.close()
        assert process.wait(5) == 0


def test_it_ends_with_the_service() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        with started(port=server.getsockname()[1]) as process:
            greeting(process)
            assert process.wait(5) == 0


def test_nothing_that_listens_is_said_in_one_line() -> None:
    with started(port=1) as process:
        found = greeting(process)
        assert process.wait(5) == 0
    assert list(found) == ["refused"]
    assert isinstance(listener.read(json.dumps(found).encode()), listener.Refused)


@AS_ROOT
@pytest.mark.parametrize("who", [None, NOBODY])
def test_the_user_who_answers_shows_to_everybody(who: int | None) -> None:
    """Also to one without rights, who sees no process of another user."""
    with server_of(NOBODY) as (port, pid):
        peer = socket.create_connection(("127.0.0.1", port))
        with peer:
            found = json.loads(relay.told(peer, "127.0.0.1", port))
        seen = as_user(who, port)
    assert found["accepted"] == seen["accepted"] == NOBODY
    assert found["listeners"] == seen["listeners"] == [NOBODY]
    assert found["users"] == {str(NOBODY): "nobody"}
    assert [(item["process"], item["user"], item["ours"]) for item in found["holders"]] == [(pid, NOBODY, False)]
    assert seen["root"] is (who is None)
    report = listener.read(json.dumps(seen).encode())
    assert isinstance(report, listener.Report)
    assert listener.judge(report).whose in ("stranger", "unknown")  # unknown without systemd's groups


def as_user(user: int | None, port: int) -> Any:
    words = ["/usr/bin/python3", "-IBc", TEXT, "mark", "127.0.0.1", str(port)]
    with started(*words, user=user) as process:
        return greeting(process)


def test_a_connection_that_nobody_takes_is_judged_by_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "ACCEPT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as peer:
            start = time.monotonic()
            found = json.loads(relay.told(peer, "127.0.0.1", port))
    assert time.monotonic() - start < 5
    assert found["accepted"] is None
    assert found["listeners"] == [os.getuid()]


def test_the_closest_address_wins() -> None:
    with socket.create_server(("127.0.0.9", 0), reuse_port=True) as near:
        port = near.getsockname()[1]
        with socket.create_server(("", port), reuse_port=True) as far:
            assert far.getsockname()[1] == port
            inodes = [relay.listeners(address, port) for address in ("127.0.0.9", "127.0.0.1")]
    assert [len(each) for each in inodes] == [1, 1]
    assert inodes[0] != inodes[1]


def test_an_address_as_the_kernel_prints_it() -> None:
    assert relay.place("0100007F:1F90", socket.AF_INET) == ("127.0.0.1", 8080)
    assert relay.place("0000000000000000FFFF00000100007F:1F90", socket.AF_INET6) == ("127.0.0.1", 8080)
    assert relay.place("00000000000000000000000001000000:1F90", socket.AF_INET6) == ("::1", 8080)


def test_users_of_processes_that_are_hidden_or_gone() -> None:
    assert relay.users_of([]) == []
    assert relay.users_of([str(os.getpid()), "4194999"]) == [os.geteuid()]
    assert relay.users_of(["4194999"]) is None


def test_a_table_that_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(state: str) -> Any:
        raise PermissionError(13, "Permission denied\x1b")

    monkeypatch.setattr(relay, "sockets", hidden)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as peer:
        said = listener.read(relay.told(peer, "127.0.0.1", 1))
    assert said == listener.Judgement("unknown", "[Errno 13] Permission denied?")


@pytest.mark.parametrize(
    ("groups", "ours"),
    [
        ("0::/system.slice/phi4-edge.service\n", True),
        ("1:name=systemd:/system.slice/phi4-edge.service\n0::/\n", True),
        ("0::/user.slice/user-1001.slice/user@1001.service/app.slice/phi4-edge.service\n", False),
        ("0::/system.slice/phi4-edge.service.d\n", False),
        ("", False),
    ],
)
def test_a_users_own_unit_of_our_name_is_not_ours(groups: str, ours: bool) -> None:
    assert relay.of_unit(groups) is ours
