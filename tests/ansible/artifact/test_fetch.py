"""The host's side of the delivery over a URL, against the real server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.artifacts.serve.ranges import Grant, RangeServer
from phi4_edge.core import manifest
from tests.ansible.host_scripts import hostlib, load
from tests.ansible.plays import ROOT

sys.path.insert(0, str(ROOT / "roles" / "artifact" / "files"))
import fetchline

fetch, push = load("artifact", "fetch"), load("artifact", "push")
PIECE = 10_000
DATA = {"weights": random.Random(1).randbytes(95_000), "folder/small": random.Random(2).randbytes(500), "empty": b""}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Bench:
    """An artifact on the controller, served, and a host that has none of it. `served`: bytes in this test."""

    def __init__(self, folder: Path, server: RangeServer, stack: contextlib.ExitStack) -> None:
        self.source, self.destination, self.staging = folder / "source", folder / "models" / "m", folder / "staging"
        files = []
        for name, data in DATA.items():
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            (self.source / name).write_bytes(data)
            files.append(manifest.File(name, len(data), sha(data)))
        self.port = server.listen_on("127.0.0.1")
        self.grant: Grant = stack.enter_context(
            server.granted({file.sha256: (self.source / file.path, file.size) for file in files}, 0)
        )
        self.args: dict[str, Any] = {
            "name": "m", "destination": str(self.destination), "staging": str(self.staging),
            "digest": manifest.digest(files), "files": [file.to_dict() for file in files], "links": [],
            "piece_bytes": PIECE, "seconds": 60, "piece_seconds": 5, "token": self.grant.token,
            "base": f"http://127.0.0.1:{self.port}",
            "pieces": {
                sha(data): [sha(data[at : at + PIECE]) for at in range(0, len(data), PIECE)] for data in DATA.values()
            },
        }  # fmt: skip

    def fetch(self, **more: Any) -> dict[str, Any]:
        return dict(fetch.fetch({**self.args, **more}, b""))

    @property
    def staged(self) -> Path:
        return self.staging / str(self.args["digest"])

    def finish(self) -> None:
        assert push.finish(self.args, b"") == {"changed": True, "bad": []}
        for name, data in DATA.items():
            assert (self.destination / name).read_bytes() == data
        assert list(self.staging.iterdir()) == []
        assert push.survey(self.args, b"")["complete"] is True


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with RangeServer() as server, contextlib.ExitStack() as stack:
        yield Bench(tmp_path, server, stack)


def unread(_path: str) -> str:
    raise AssertionError("a file was read again")


def test_all_of_it_comes_once_and_nothing_is_hashed_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.fetch() == {"done": True, "received": 95_500, "why": ""}
    assert bench.grant.sent == 95_500
    for module in (push, hostlib):
        monkeypatch.setattr(module, "sha256_file", lambda path: unread(path) if Path(path).stat().st_size else sha(b""))
    bench.finish()
    assert bench.fetch() == {"done": True, "received": 0, "why": ""}
    assert bench.grant.sent == 95_500


@pytest.mark.parametrize("forget", [False, True])
def test_what_is_there_is_not_sent_again(bench: Bench, forget: bool) -> None:
    """Cut after a while; `forget`: killed before it could say how far it was, so that it is read back."""
    first = bench.fetch(seconds=0.0)
    assert first == {"done": False, "received": 0, "why": ""}
    (bench.staged / "weights").parent.mkdir(parents=True, exist_ok=True)
    (bench.staged / "weights").write_bytes(DATA["weights"][:45_123])
    if forget:
        with contextlib.suppress(FileNotFoundError):
            Path(fetch.progress_path(bench.args)).unlink()
    assert bench.fetch()["done"] is True
    assert bench.grant.sent == 95_500 - 40_000  # whole pieces count
    bench.finish()


def test_bytes_that_were_damaged_meanwhile_are_sent_again(bench: Bench) -> None:
    bench.fetch()
    staged = bench.staged / "weights"
    data = bytearray(staged.read_bytes())
    data[55_555] ^= 1
    staged.write_bytes(data)
    os.utime(staged, ns=(1, 1))  # a clock may tick in milliseconds, and this took less
    os.truncate(bench.staged / "folder" / "small", 0)
    assert bench.fetch() == {"done": True, "received": 45_000 + 500, "why": ""}
    bench.finish()


def test_another_boot_believes_nothing_of_what_it_did_not_see(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.fetch()
    path = Path(fetch.progress_path(bench.args))
    kept = json.loads(path.read_text())
    staged, found = bench.staged / "weights", os.lstat(bench.staged / "weights")
    staged.write_bytes(bytes(95_000))
    os.utime(staged, ns=(found.st_atime_ns, found.st_mtime_ns))
    path.write_text(json.dumps({**kept, "boot": "another", "stamps": {"weights": hostlib.stamp(os.lstat(staged))}}))
    assert bench.fetch()["received"] == 95_000
    bench.finish()


def test_pieces_of_the_push_go_on_where_it_stopped(bench: Bench) -> None:
    bench.staged.mkdir(parents=True)
    (bench.staged / "weights").write_bytes(DATA["weights"][:30_000])
    bench.fetch(token="0" * 64)
    have = push.survey(bench.args, b"")["have"]
    assert have == {"weights": 30_000, "folder/small": 0, "empty": 0}
    piece = {"path": "weights", "offset": 30_000, "length": 65_000, "sha256": sha(DATA["weights"][30_000:])}
    piece |= {"size": 95_000, "file_sha256": sha(DATA["weights"])}
    assert push.store({**bench.args, "pieces": [piece]}, DATA["weights"][30_000:]) == {}
    assert bench.fetch() == {"done": True, "received": 500, "why": ""}
    bench.finish()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"token": "0" * 64}, "HTTP status 403"),
        ({"base": "http://127.0.0.1:1"}, "refused"),
        ({"pieces": {sha(data): ["0" * 64] * -(-len(data) // PIECE) for data in DATA.values()}}, "other bytes"),
    ],
)
def test_what_does_not_come_right_is_not_kept(bench: Bench, change: dict[str, Any], why: str) -> None:
    found = bench.fetch(**change)
    assert (found["done"], found["received"]) == (False, 0)
    assert why in found["why"]
    assert not (bench.staged / "weights").exists() or (bench.staged / "weights").stat().st_size == 0
    assert bench.fetch()["done"] is True
    bench.finish()


def test_hashes_that_do_not_cover_a_file_are_refused(bench: Bench) -> None:
    with pytest.raises(fetch.HostError, match="found 9 hashes of the pieces of weights, needed one for each"):
        bench.fetch(pieces={key: hashes[:9] for key, hashes in bench.args["pieces"].items()})


def test_who_sends_a_byte_now_and_then_is_left(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetchline, "STALL_SECONDS", 30.0)
    bench.grant.bucket._rate, bench.grant.bucket.chunk = 2, 1
    found = bench.fetch(piece_seconds=0.5)
    assert (found["done"], found["received"]) == (False, 0)
    assert "within 0 s" in found["why"] or "after 0 s" in found["why"]


def test_a_full_disk_gives_the_room_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "append", full)
    with pytest.raises(fetch.HostError, match="the disk became full") as caught:
        bench.fetch()
    assert caught.value.details == {"disk_full": True}
    assert list(bench.staging.iterdir()) == []
