"""The depot of a run, asked by the carrier that tasks use; ssh is a program that stands for it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import random
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core import manifest
from phi4_edge.core.inventory import Host
from phi4_edge.operations import depot
from phi4_edge.operations.depot import Depot
from phi4_edge.remote.ranges import Carrier

DATA = random.Random(8).randbytes(200_000)
SHA = hashlib.sha256(DATA).hexdigest()
FILE = manifest.File("weights", len(DATA), SHA)
HERE = {"phi4_artifact_address": "127.0.0.1"}
# No ssh of a test connects anywhere: it says that forwarding is not allowed.
REFUSES = "import sys; sys.exit('Error: remote port forwarding failed for listen port 0')"


@pytest.fixture(autouse=True)
def no_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bin" / "ssh"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\n{REFUSES}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "store" / "artifacts" / manifest.digest([FILE])
    made.mkdir(parents=True)
    (made / "weights").write_bytes(DATA)
    (made / "manifest.json").write_text(json.dumps({"format": manifest.FORMAT, "files": [FILE.to_dict()]}))
    return made


@pytest.fixture
def opened(tmp_path: Path, source: Path) -> Iterator[tuple[Depot, str]]:
    hosts = [
        Host("near", "192.0.2.7", vars=HERE), Host("far", "192.0.2.8"), Host("boxed", "c", connection="docker"),
    ]  # fmt: skip
    with depot.opened(tmp_path / "store", hosts, frozenset({source})) as made:
        yield made


class HostSide:
    """What a host would do: fetches all pieces from where it is told to. `fails`: so many times it gets nothing."""

    def __init__(self, fails: int = 0) -> None:
        self.fails = fails
        self.asked: list[Mapping[str, Any]] = []
        self.statuses: list[int] = []

    def fetch(self, what: str, args: Mapping[str, Any], _payload: bytes) -> dict[str, Any]:
        assert what == "fetch"
        self.asked.append(args)
        if self.fails:
            self.fails -= 1
            return {"done": False, "received": 0, "why": "a cut line"}
        got = self.get(args)
        right = [hashlib.sha256(got).hexdigest()] == list(args["pieces"][SHA])
        return {"done": right, "received": len(got), "why": ""}

    def get(self, args: Mapping[str, Any]) -> bytes:
        place = urllib.parse.urlsplit(args["base"])
        line = http.client.HTTPConnection(str(place.hostname), place.port, timeout=5)
        try:
            span = {"Range": f"bytes=0-{len(DATA) - 1}", "phi4-token": args["token"]}
            line.request("GET", f"/{SHA}", headers=span)
            answer = line.getresponse()
            self.statuses.append(answer.status)
            return answer.read()
        finally:
            line.close()


def carry(made: tuple[Depot, str], host: str, side: HostSide, source: Path, least: int = 1) -> bool:
    carrier = Carrier(made[1], host, 0, least, side.fetch, lambda _: None)
    return carrier.carry(source, {"name": "a model", "destination": "/var/lib/phi4-edge/models/m"}, [FILE], len(DATA))


def test_a_host_gets_the_bytes_and_its_token_ends_with_the_task(opened: tuple[Depot, str], source: Path) -> None:
    side = HostSide()
    assert carry(opened, "near", side, source) is True
    assert opened[0].sent == {"near": len(DATA)}
    assert list(opened[0].told) == []
    assert side.get(side.asked[0]) == b""
    assert side.statuses == [206, 403]


def test_a_task_hears_the_last_word_when_its_token_has_ended(
    opened: tuple[Depot, str], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = opened[0].server
    granted = server.granted

    @contextlib.contextmanager
    def slow(*args: Any) -> Iterator[Any]:
        with granted(*args) as grant:
            yield grant
            time.sleep(0.3)

    monkeypatch.setattr(server, "granted", slow)
    side = HostSide()
    assert carry(opened, "near", side, source) is True
    assert opened[0].sent == {"near": len(DATA)}
    assert side.get(side.asked[0]) == b""


def test_a_way_that_gives_nothing_is_told_and_the_next_one_taken(opened: tuple[Depot, str], source: Path) -> None:
    assert carry(opened, "near", HostSide(fails=1), source) is True
    first, second = opened[0].told
    assert first == "near: a model does not come over http://127.0.0.1 (a cut line); an SSH tunnel is tried"
    assert second.startswith("near: a model does not come over an SSH tunnel (Error: remote port forwarding failed")
    assert second.endswith("it is sent over Ansible's connection")


@pytest.mark.parametrize(("host", "why"), [("far", "forwarding failed"), ("boxed", "the connection is docker")])
def test_without_a_way_back_it_is_one_line(opened: tuple[Depot, str], source: Path, host: str, why: str) -> None:
    side = HostSide()
    assert carry(opened, host, side, source) is False
    assert side.asked == []
    assert len(opened[0].told) == 1
    assert why in opened[0].told[0]


def test_nothing_else_of_the_controller_is_served(opened: tuple[Depot, str], source: Path, tmp_path: Path) -> None:
    side = HostSide()
    other = tmp_path / "other"
    other.mkdir()
    for name in ("weights", "manifest.json"):
        (other / name).write_bytes((source / name).read_bytes())
    for place in (other, source.parent, source / ".." / source.name, tmp_path):
        assert carry(opened, "near", side, place) is False
    assert carry(opened, "unknown", side, source) is False
    assert side.asked == []


def test_little_and_nothing_are_not_worth_a_way(opened: tuple[Depot, str], source: Path, tmp_path: Path) -> None:
    side = HostSide()
    assert carry(opened, "near", side, source, least=len(DATA) + 1) is False
    assert carry((opened[0], ""), "near", side, source) is False
    assert carry((opened[0], str(tmp_path / "none")), "near", side, source) is False
    assert side.asked == []


def test_a_file_that_is_not_what_its_manifest_says_is_told(opened: tuple[Depot, str], source: Path) -> None:
    (source / "weights").write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    assert carry(opened, "near", HostSide(), source) is False
    assert "not what its manifest says" in opened[0].told[0]


def test_what_hangs_up_or_speaks_nonsense_ends_alone(opened: tuple[Depot, str], source: Path) -> None:
    for words in (b"", b"nonsense\n", b"[]\n", b'{"host": "near"}\n', b'{"host": "near", "source": 7, "files": 7}\n'):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(opened[1])
            line.sendall(words)
            line.shutdown(socket.SHUT_WR)
            line.settimeout(5)
            assert line.recv(100) in (b"", b"{}\n")
    assert carry(opened, "near", HostSide(), source) is True


def test_afterwards_nothing_is_left(tmp_path: Path, source: Path) -> None:
    before = threading.active_count()
    with depot.opened(tmp_path / "store", [Host("near", vars=HERE)], frozenset({source})) as made:
        asked = Path(made[1])
        assert asked.parent.stat().st_mode & 0o777 == 0o700
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(asked))
    assert not asked.parent.exists()
    end = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_task_that_asks_as_it_ends_is_ended_too(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(threading.Thread):
        def start(self) -> None:
            time.sleep(0.3)
            super().start()

    before = threading.active_count()
    with depot.opened(tmp_path / "store", [Host("near", vars=HERE)], frozenset({source})) as made:
        monkeypatch.setattr(threading, "Thread", Late)
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(made[1])
            time.sleep(0.1)  # it is accepted, and its thread has not begun
    end = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_where_no_socket_can_be_the_run_goes_on_without(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depot, "RANGES", "r" * 200)
    with depot.opened(tmp_path / "store", [Host("near", vars=HERE)], frozenset({source})) as made:
        assert made[1] == ""
        assert carry(made, "near", HostSide(), source) is False
        assert "large files are sent over Ansible's connection" in made[0].told[0]


def test_two_seeds_do_not_wait_for_each_other(tmp_path: Path, source: Path) -> None:
    pair = [Host(name, vars={**HERE, "phi4_artifact_seed": other}) for name, other in (("a", "b"), ("b", "a"))]
    lost = Host("c", vars={**HERE, "phi4_artifact_seed": "unknown"})
    with depot.opened(tmp_path / "store", [*pair, lost], frozenset({source})) as made:
        assert carry(made, "a", HostSide(), source) is True
        assert carry(made, "c", HostSide(), source) is True
        assert list(made[0].told) == [
            "a: a model does not come over the seed b (it names a seed itself); http://127.0.0.1 is tried",
            "c: a model does not come over the seed unknown (it is no host of this run); http://127.0.0.1 is tried",
        ]
        assert made[0].sent == {"a": len(DATA), "c": len(DATA)}
