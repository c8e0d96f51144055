"""What keeps Ollama's model loaded on a host, beside the stand-in: starts, kills, clients that unload, and memory."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from phi4_edge.core.facts.units import ModelState, model_state
from tests.unit.standins.ollama import Ollama, free_port

SCRIPT = Path(__file__).parents[3] / "roles" / "ollama" / "files" / "load.py"
# Here the server is no unit: its children are the service's processes.
STARTER = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("load", sys.argv[1])
load = importlib.util.module_from_spec(spec)
spec.loader.exec_module(load)
load.OTHERS_SECONDS = 0.5
def ours(parts, pid, wish):
    return load.read("/proc/%d/stat" % pid).rpartition(")")[2].split()[1] == sys.argv[3]
load.ours = ours
load.Keeper(load.wish_of(json.loads(sys.argv[2]))).run()
"""
Starts = Callable[..., Ollama]


def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("load", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


class Keeper:
    """The loader as a process, and what it tells systemd."""

    def __init__(self, folder: Path, port: int, server: int) -> None:
        self.lines: list[str] = []
        self.way = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.way.bind(str(folder / "notify"))
        plan = {
            "bind": "0.0.0.0",
            "port": port,
            "model": {"served_name": "tiny"},
            "service_manager": "systemd",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTER, SCRIPT, json.dumps(plan), str(server)],
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                self.lines.append(self.way.recv(4096).decode().removeprefix("STATUS="))

    def wait(self, good: Callable[[ModelState], bool], seconds: float = 20) -> ModelState:
        """What it says once that is `good`."""
        end = time.monotonic() + seconds
        while not (self.lines and good(model_state(self.lines[-1]))):
            assert time.monotonic() < end, self.lines
            assert self.process.poll() is None, self.lines
            time.sleep(0.05)
        return model_state(self.lines[-1])

    def loaded(self, kills: int = 0) -> ModelState:
        return self.wait(lambda state: state.state == "loaded" and state.kills == kills)

    def end(self) -> str:
        self.process.terminate()
        told = str(self.process.communicate(timeout=10)[0])
        self.way.close()
        return told


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Callable[[int, int], Keeper]]:
    running: list[Keeper] = []

    def start(port: int, server: int) -> Keeper:
        running.append(Keeper(tmp_path, port, server))
        return running[-1]

    yield start
    for one in running:
        if one.process.returncode is None:
            one.end()


def beside(keeper: Any, one: Ollama) -> Keeper:
    found: Keeper = keeper(int(one.url.rpartition(":")[2]), one.process.pid)
    return found


def test_the_model_is_loaded_without_a_request_and_again_after_a_kill(ollama: Starts, keeper: Any) -> None:
    one = ollama(OLLAMA_KEEP_ALIVE="-1")
    one.create()
    found = beside(keeper, one)
    assert found.loaded() == ModelState("loaded")
    first = one.runners()
    assert len(first) == 1
    os.kill(first[0], signal.SIGKILL)
    state = found.loaded(kills=1)
    assert (state.memory_kills, state.last[:2]) == (0, "20")
    assert one.runners() != first
    assert len(one.runners()) == 1
    assert [line.partition(";")[0] for line in found.lines] == [
        "loading",
        "loaded",
        "loading",
        "loading",
        "loading",
        "loaded",
    ]
    told = found.end()
    assert "by a signal, or crashed (1 times since this unit started)" in told
    assert told.count("tiny is loaded after") == 2


def test_a_client_that_unloads_is_no_kill(ollama: Starts, keeper: Any) -> None:
    one = ollama(OLLAMA_KEEP_ALIVE="-1")
    one.create()
    found = beside(keeper, one)
    found.loaded()
    first = one.runners()
    one.post("/api/generate", {"model": "tiny", "keep_alive": 0})
    end = time.monotonic() + 20
    while one.runners() in ([], first):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert found.loaded().kills == 0


def test_other_options_of_a_client_are_not_undone(ollama: Starts, keeper: Any) -> None:
    one = ollama(OLLAMA_KEEP_ALIVE="-1", OLLAMA_CONTEXT_LENGTH="256")
    one.create()
    found = beside(keeper, one)
    found.loaded()
    first = one.runners()
    one.said("Hello", num_ctx=64)
    second = one.runners()
    assert second != first
    time.sleep(2)
    assert one.runners() == second
    assert found.loaded().kills == 0


def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path: Path, keeper: Any) -> None:
    found: Keeper = keeper(free_port(), 1)
    state = found.wait(lambda state: bool(state.why))
    assert state == ModelState("loading", "the service does not answer yet")


def test_what_is_not_ollama_is_waited_for_too(keeper: Any) -> None:
    """Such as what publishes the port of a container that goes: seconds later it is Ollama again."""

    class Foreign(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            """Nothing: the output belongs to the test."""

    with http.server.HTTPServer(("127.0.0.1", 0), Foreign) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found: Keeper = keeper(server.server_address[1], 1)
        state = found.wait(lambda state: bool(state.why))
        server.shutdown()
    assert state == ModelState("loading", "what answers is not Ollama")


def test_what_ollama_says_of_a_model_that_it_cannot_load_is_told(ollama: Starts, keeper: Any) -> None:
    one = ollama()
    state = beside(keeper, one).wait(lambda state: bool(state.why))
    assert state == ModelState("loading", "HTTP 404: model 'tiny' not found")


def test_a_kill_for_want_of_memory_is_told_as_one(
    ollama: Starts, keeper: Any, memory_limit: Callable[[int, int], None]
) -> None:
    one = ollama(OLLAMA_KEEP_ALIVE="-1", OLLAMA_CONTEXT_LENGTH="2048", LLAMA_ARG_CACHE_RAM="-1")
    one.create(shaped=True)
    memory_limit(one.process.pid, 500 << 20)
    found = beside(keeper, one)
    found.loaded()
    for number in range(8):
        one.said(" ".join(f"{number:02d}{place % 100:02d}" for place in range(1200)), num_predict=1)
        if found.lines[-1].startswith("loading"):
            break
    state = found.wait(lambda state: state.state == "loaded" and state.kills >= 1, 40)
    assert state.memory_kills >= 1


# (what /proc/PID/cgroup says, in containers, the user): the directory of the group, or None for a process not ours.
UNIT_V2 = "0::/system.slice/phi4-edge.service\n"
HASH = "ab" * 32
GROUPS = [
    (UNIT_V2, False, 61234, "/sys/fs/cgroup/system.slice/phi4-edge.service"),
    ("3:cpu:/\n4:memory:/system.slice/phi4-edge.service\n0::/system.slice/phi4-edge.service\n", False, 61234,
     "/sys/fs/cgroup/memory/system.slice/phi4-edge.service"),
    ("0::/user.slice/user-1000.slice/user@1000.service/phi4-edge.service\n", False, 1000, None),
    ("0::/system.slice/phi4-edge-rehearsal.service\n", False, 61234, None),
    ("0::/system.slice/ollama.service\n", False, 61234, None),
    (f"0::/system.slice/docker-{HASH}.scope\n", False, 65532, None),
    (f"0::/system.slice/docker-{HASH}.scope\n", True, 65532, f"/sys/fs/cgroup/system.slice/docker-{HASH}.scope"),
    (f"0::/docker/{HASH}\n", True, 65532, f"/sys/fs/cgroup/docker/{HASH}"),
    (f"0::/docker/{HASH}\n", True, 0, None),
    (UNIT_V2, True, 65532, None),
    ("", False, 0, None),
    ("nonsense\n0:\n", True, 65532, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "containers", "user", "group"), GROUPS)
def test_whose_process_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, containers: bool, user: int, group: str | None
) -> None:
    load = module()
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "cgroup").write_text(text)
    if os.geteuid() == 0:
        os.chown(tmp_path / "77", user, -1)
    elif containers and group:
        pytest.skip("only root can make a folder another user's")
    monkeypatch.setattr(load, "PROC", str(tmp_path))
    assert load.group_of(77, load.Wish("127.0.0.1", 1, "tiny", containers)) == group


@pytest.mark.parametrize(
    ("name", "text", "kills"),
    [
        ("memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n", 2),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),
        ("memory.events", "oom_kill -1\n", 0),
        ("memory.events", "oom_kill many\n", 0),
        ("nothing", "", 0),
    ],
)
def test_what_the_kernel_counts(tmp_path: Path, name: str, text: str, kills: int) -> None:
    (tmp_path / name).write_text(text)
    assert module().kills_in(str(tmp_path)) == kills


def test_a_status_line_is_one_line_whatever_ollama_says() -> None:
    load = module()
    line = load.status_line("loading", 3, 1, "2026-11-29T00:00:00Z", load.one_line("no\nmemory\x1b[2J; loaded " * 40))
    state = model_state(line)
    assert (state.state, state.kills, state.memory_kills, state.last) == ("loading", 3, 1, "2026-11-29T00:00:00Z")
    assert state.why.startswith("no memory [2J; loaded")
    assert len(state.why) <= 200
