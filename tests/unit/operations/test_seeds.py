"""A gateway that serves its site: the real program in a process of its own, which stands at the other end of ssh."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import http.client
import random
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.artifacts.serve import seeding
from phi4_edge.core.inventory import Host
from phi4_edge.core.manifest import File
from phi4_edge.errors import UnreachableError
from phi4_edge.operations import seeds
from phi4_edge.operations.seeds import Receiving, Seeds
from phi4_edge.ssh.program import Program

DATA = random.Random(9).randbytes(100_000)
FILE = File("folder/weights", len(DATA), hashlib.sha256(DATA).hexdigest())
SEED = Host("gw1", "192.0.2.7")
SOURCE = Path("/store/artifacts/m")
# Its last argument is a command for a login shell, as with the real one; sshd says at which address it was reached.
SSH = "import os, sys; os.environ['SSH_CONNECTION'] = '{}'; os.execvp('sh', ['sh', '-c', sys.argv[-1]])"


def ssh(folder: Path, monkeypatch: pytest.MonkeyPatch, reached: str = "192.0.2.1 50000 127.0.0.1 22") -> None:
    path = folder / "bin" / "ssh"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{SSH.format(reached)}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gateway that has the artifact. Loopback stands for the address of its LAN."""
    ssh(tmp_path, monkeypatch)
    real = seeds.place
    url = "http://{address}:{port}"
    monkeypatch.setattr(seeds, "place", lambda found: real(found) if "missing" in found else url.format(**found))
    made = tmp_path / "state" / "models" / "m"
    (made / "folder").mkdir(parents=True)
    (made / FILE.path).write_bytes(DATA)
    return made


@pytest.fixture
def site() -> Iterator[Seeds]:
    made = Seeds(Receiving())
    with contextlib.closing(made):
        yield made


def get(base: str, token: str) -> tuple[int, bytes]:
    at = urllib.parse.urlsplit(base)
    line = http.client.HTTPConnection(str(at.hostname), at.port, timeout=5)
    with contextlib.closing(line):
        line.request("GET", f"/{FILE.sha256}", headers={"Range": f"bytes=0-{FILE.size - 1}", "phi4-token": token})
        answer = line.getresponse()
        return answer.status, answer.read()


def test_the_program_is_for_the_oldest_python() -> None:
    for part in (*seeds._PARTS,):
        ast.parse(Path(str(part.__file__)).read_text(), feature_version=(3, 8))
    assert "phi4_edge.errors" not in seeds.program()


def test_it_serves_until_the_run_ends(site: Seeds, folder: Path) -> None:
    base, token = site.way(SEED, SOURCE, str(folder), [FILE])
    assert site.way(SEED, SOURCE, str(folder), [FILE]) == (base, token)
    (folder / FILE.path).unlink()  # its service may take the file over meanwhile
    assert get(base, token) == (206, DATA)
    assert get(base, "0" * 64)[0] == 403
    site.close()
    end = time.monotonic() + 5
    with pytest.raises(OSError, match="refused|reset|closed"):  # noqa: RUF043 - it may take a moment
        while time.monotonic() < end:
            get(base, token)


def test_a_store_of_ollama_has_the_weights_too(site: Seeds, folder: Path) -> None:
    blob = folder.parent.parent / "stores" / "s" / "blobs" / f"sha256-{FILE.sha256}"
    blob.parent.mkdir(parents=True)
    (folder / FILE.path).rename(blob)
    assert get(*site.way(SEED, SOURCE, str(folder), [FILE])) == (206, DATA)


def test_one_that_was_killed_is_started_again(site: Seeds, folder: Path) -> None:
    before = site.way(SEED, SOURCE, str(folder), [FILE])
    site._serving[SEED.name, SOURCE][0].close()
    after = site.way(SEED, SOURCE, str(folder), [FILE])
    assert before != after
    assert get(*after) == (206, DATA)


def test_one_that_has_not_the_file_says_so(site: Seeds, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "BEGIN_SECONDS", 0.1)
    for change in (lambda: (folder / FILE.path).write_bytes(DATA[1:]), (folder / FILE.path).unlink):
        change()
        with pytest.raises(UnreachableError, match="it does not have folder/weights to give"):
            site.way(SEED, SOURCE, str(folder), [FILE])


def test_one_that_receives_it_in_this_wave_is_waited_for(
    site: Seeds, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeds, "LOOK_SECONDS", 0.05)
    (folder / FILE.path).rename(folder / "staged")
    site.receiving.begin(SEED.name, SOURCE)
    tried: list[str] = []

    def start(host: Host, text: str, args: Mapping[str, Any]) -> Program:
        made = Program(host, text, args)
        tried.append("missing" if "missing" in made.answer else "there")
        if len(tried) == 1:
            threading.Timer(0.3, site.receiving.end, (SEED.name, SOURCE)).start()
        elif len(tried) == 2:
            (folder / "staged").rename(folder / FILE.path)
        return made

    site.start = start
    assert get(*site.way(SEED, SOURCE, str(folder), [FILE])) == (206, DATA)
    assert tried == ["missing", "missing", "there"]


def test_one_that_is_not_reached_is_told(site: Seeds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "BEGIN_SECONDS", 0.1)
    path = tmp_path / "ssh"
    path.write_text("#!/bin/sh\necho 'ssh: connect to host 192.0.2.7 port 22: No route to host' >&2; exit 255\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UnreachableError, match="No route to host"):
        site.way(SEED, SOURCE, "/none", [FILE])


@pytest.mark.parametrize(
    "answer",
    [
        {}, {"address": "127.0.0.1", "port": 80}, {"address": "::1", "port": 80}, {"address": "0.0.0.0", "port": 80},
        {"address": "gw2.example", "port": 80}, {"address": "192.0.2.7", "port": 0},
        {"address": "fe80::1%e", "port": 9},
        {"address": "192.0.2.7", "port": True}, {"address": "192.0.2.7/x?", "port": 80}, {"address": 7, "port": 80},
        {"address": "224.0.0.1", "port": 80}, {"address": "192.0.2.7", "port": "80"},
    ],
)  # fmt: skip
def test_a_lying_seed_sends_nobody_anywhere(answer: dict[str, Any]) -> None:
    with pytest.raises(UnreachableError, match="names no address"):
        seeds.place(answer)


def test_the_url_of_an_honest_one() -> None:
    assert seeds.place({"address": "192.0.2.7", "port": 8700}) == "http://192.0.2.7:8700"
    assert seeds.place({"address": "2001:db8::7", "port": 8700}) == "http://[2001:db8::7]:8700"


def test_it_listens_where_sshd_was_reached_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.7 22")
    assert seeding.address() == "192.0.2.7"
    monkeypatch.setenv("SSH_CONNECTION", "")
    assert seeding.address() == ""
