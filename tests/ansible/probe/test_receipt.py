"""The receipt, as the probe verifies it: drift is named file by file, and a forged receipt is only data."""

from __future__ import annotations

import hashlib
import json
import os
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.probe_run import place, probe


def entry(root: Path, name: str, text: bytes, **changes: Any) -> dict[str, Any]:
    path = place(root, name, text)
    path.chmod(0o644)
    status = path.stat()
    digest = hashlib.sha256(text).hexdigest()
    stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
    return {"path": name, "sha256": digest, "size": len(text), "mode": "0644", "stamp": stamp, **changes}


def verified(root: Path, receipt: Any) -> dict[str, Any]:
    place(root, "/var/lib/phi4-edge/receipt.json", receipt if isinstance(receipt, bytes) else json.dumps(receipt))
    answer: dict[str, Any] = json.loads(probe(root)["receipt"]["text"])
    return answer


def test_a_true_receipt_has_no_drift_and_comes_back_without_its_files(tmp_path: Path) -> None:
    files = [
        entry(tmp_path, "/opt/phi4-edge/releases/r-1/environment", b"A=1"),
        entry(tmp_path, "/var/lib/phi4-edge/models/d/model.onnx", b"x" * 300_000),
    ]
    (tmp_path / "opt/phi4-edge/current").symlink_to("releases/r-1")
    links = [{"path": "/opt/phi4-edge/current", "target": "releases/r-1"}]
    answer = verified(tmp_path, {"release": "r-1", "files": files, "links": links})
    assert answer == {"present": True, "receipt": {"release": "r-1", "links": links}, "file_count": 2, "drift": []}


def test_drift_is_named_file_by_file(tmp_path: Path) -> None:
    top = "/opt/phi4-edge/releases/r-1"
    model = "/var/lib/phi4-edge/models/d"
    files = [
        entry(tmp_path, f"{top}/gone", b"1"),
        entry(tmp_path, f"{top}/edited", b"one"),
        entry(tmp_path, f"{top}/open", b"1"),
        entry(tmp_path, f"{top}/linked", b"1"),
        entry(tmp_path, f"{model}/same-stamp", b"aaa"),
        entry(tmp_path, f"{model}/touched", b"aaa"),
        entry(tmp_path, f"{model}/replaced", b"aaa"),
    ]
    (tmp_path / f"{top}/gone".lstrip("/")).unlink()
    edited = tmp_path / f"{top}/edited".lstrip("/")
    edited.write_bytes(b"two")
    os.utime(edited, ns=(files[1]["stamp"][1], files[1]["stamp"][1]))
    (tmp_path / f"{top}/open".lstrip("/")).chmod(0o666)
    (tmp_path / f"{top}/linked".lstrip("/")).unlink()
    (tmp_path / f"{top}/linked".lstrip("/")).symlink_to("/etc/hostname")
    os.utime(tmp_path / f"{model}/touched".lstrip("/"))
    (tmp_path / f"{model}/replaced".lstrip("/")).write_bytes(b"bbb")
    links = [{"path": "/opt/phi4-edge/current", "target": "releases/r-1"}]
    answer = verified(tmp_path, {"files": files, "links": links})
    assert answer["drift"] == [
        {"path": "/opt/phi4-edge/current", "problem": "missing"},
        {"path": f"{top}/gone", "problem": "missing"},
        {"path": f"{top}/edited", "problem": "changed"},
        {"path": f"{top}/open", "problem": "mode"},
        {"path": f"{top}/linked", "problem": "changed"},
        {"path": f"{model}/replaced", "problem": "changed"},
    ]


@pytest.mark.parametrize("target", ["releases/other", None])
def test_a_link_that_points_elsewhere_or_is_none_is_drift(tmp_path: Path, target: str | None) -> None:
    link = tmp_path / "opt/phi4-edge/current"
    link.parent.mkdir(parents=True)
    if target:
        link.symlink_to(target)
    else:
        link.mkdir()
    answer = verified(tmp_path, {"files": [], "links": [{"path": "/opt/phi4-edge/current", "target": "releases/r-1"}]})
    assert answer["drift"] == [{"path": "/opt/phi4-edge/current", "problem": "link"}]


FORGED = {
    "no JSON": b"{",
    "not UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "no files": b"{}",
    "files of another kind": b'{"files": [7]}',
    "a deep nest": b'{"files": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a foreign path": b'{"files": [{"path": "/etc/shadow", "size": 1, "sha256": "", "mode": "0644"}]}',
    "a way out": b'{"files": [{"path": "/opt/phi4-edge/../../etc/shadow", "size": 1}]}',
    "a terminal escape": b'{"files": [{"path": "/opt/phi4-edge/\\u001b[2J", "size": 1}]}',
    "a huge head": b'{"files": [], "release": "' + b"x" * 100_000 + b'"}',
    "too large": b'{"files": [' + b" " * (16 * 1024 * 1024) + b"]}",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_receipt_is_an_error_inside_the_answer(tmp_path: Path, name: str) -> None:
    answer = verified(tmp_path, FORGED[name])
    assert answer["present"] is True
    assert answer["error"]
    assert "\x1b" not in answer["error"]


def test_a_link_among_our_folders_leads_to_no_file_elsewhere(tmp_path: Path) -> None:
    secret = entry(tmp_path, "/etc/secret", b"hash me")
    place(tmp_path, "/opt/phi4-edge/releases/r-1/environment", b"")
    (tmp_path / "opt/phi4-edge/way").symlink_to(tmp_path / "etc")
    answer = verified(tmp_path, {"files": [{**secret, "path": "/opt/phi4-edge/way/secret"}]})
    assert "leads elsewhere" in answer["error"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_stands_in_the_receipts_place_is_an_error_and_not_an_absence(tmp_path: Path, kind: str) -> None:
    path = place(tmp_path, "/var/lib/phi4-edge/receipt.json", b"")
    path.unlink()
    if kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    answer = json.loads(probe(tmp_path)["receipt"]["text"])
    assert answer["present"] is True
    assert answer["error"]


class Daemon(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers on Docker's socket with what a test gives it, and keeps what it was asked."""

    daemon_threads = True
    answer: bytes = b"[]"
    status = "200 OK"
    asked: list[str]


class Talk(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Daemon)
        self.server.asked.append(self.rfile.readline().decode().split()[1])
        head = (
            f"HTTP/1.1 {self.server.status}\r\nContent-Length: {len(self.server.answer)}\r\nConnection: close\r\n\r\n"
        )
        self.wfile.write(head.encode() + self.server.answer)


@pytest.fixture
def docker() -> Iterator[tuple[Path, Daemon]]:
    """A root whose path is short enough for a socket, and who answers on Docker's socket below it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        (Path(folder) / "run").mkdir()
        with Daemon(f"{folder}/run/docker.sock", Talk) as server:
            server.asked = []
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield Path(folder), server
            server.shutdown()


COMPOSED = {"release": "r-1", "service_manager": "compose", "files": []}


def test_the_containers_of_the_release_are_named(docker: tuple[Path, Daemon]) -> None:
    root, server = docker
    labels = {"phi4-edge.release": "r-1", "phi4-edge.service": "engine"}
    container = {"Id": "c", "Labels": labels, "ImageID": "sha256:i", "State": "running", "Names": ["/x"]}
    server.answer = json.dumps([container]).encode()
    answer = verified(root, COMPOSED)
    assert answer["containers"] == [
        {"service": "engine", "image": "sha256:i", "state": "running", "health": "", "memory_kills": 0}
    ]
    assert server.asked == ["/containers/json?all=1&filters=%7B%22label%22%3A%20%5B%22phi4-edge.release%3Dr-1%22%5D%7D"]


@pytest.mark.parametrize(
    ("status", "text"),
    [("500 Server Error", b"[]"), ("200 OK", b"no JSON"), ("200 OK", b'{"a": 1}'), ("200 OK", b"[1]"), ("200 OK", b"")],
)
def test_docker_that_makes_no_sense_says_nothing_about_the_release(
    docker: tuple[Path, Daemon], status: str, text: bytes
) -> None:
    root, server = docker
    server.status, server.answer = status, text
    answer = verified(root, COMPOSED)
    assert ("containers" in answer, answer.get("error")) == (False, None)


def test_docker_is_not_asked_about_a_native_release(docker: tuple[Path, Daemon]) -> None:
    root, server = docker
    assert "containers" not in verified(root, {**COMPOSED, "service_manager": "systemd"})
    assert server.asked == []


def test_no_docker_is_nothing_against_the_release(tmp_path: Path) -> None:
    answer = verified(tmp_path, COMPOSED)
    assert ("containers" in answer, answer["drift"]) == (False, [])


def test_a_receipt_of_ten_thousand_files_is_verified(tmp_path: Path) -> None:
    files = [entry(tmp_path, f"/opt/phi4-edge/engines/e/{number}", b"1") for number in range(10_000)]
    answer = verified(tmp_path, {"files": files})
    assert (answer["file_count"], answer["drift"]) == (10_000, [])
    for number in range(300):
        (tmp_path / f"opt/phi4-edge/engines/e/{number}").unlink()
    answer = verified(tmp_path, {"files": files})
    assert len(answer["drift"]) == 200
    assert "more than 200" in answer["error"]
