"""One way to download: a file and a blob of a registry are resumed, tried again, bounded and refused alike."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phi4_edge.artifacts.fetch import http
from phi4_edge.artifacts.fetch.http import Address
from phi4_edge.artifacts.images.registry import Registry
from phi4_edge.core.image_reference import Endpoint
from phi4_edge.errors import ArtifactError
from tests.unit.artifacts.images.standin_registry import StandinRegistry, name_of, serving

DATA = hashlib.shake_256(b"data").digest(300_000)
DIGEST = name_of(DATA)
REPO = "site/thing"
# What differs: what is asked for is called another way, and there is another thing to do.
OWN = re.compile(r"http://127\S+/blobs/\w+:\w+|127\S+ \(sha256:\w+\)|Ask the site\.|phi4_image_mirror names [^.]*\.")
Download = Callable[[StandinRegistry, Path], list[int]]


def file(registry: StandinRegistry, part: Path) -> list[int]:
    """The blob as if it were any file, and how many bytes were said to be held."""
    held: list[int] = []
    address = Address(f"http://{registry.host}/v2/{REPO}/blobs/{DIGEST}", "Ask the site.")
    http.fetch(address, DIGEST[7:], part, len(DATA), lambda now, _: held.append(now))
    return held


def blob(registry: StandinRegistry, part: Path) -> list[int]:
    held: list[int] = []
    with Registry(Endpoint(f"http://{registry.host}", registry.host, REPO)) as opened:
        opened.blob(DIGEST, len(DATA), part, held.append)
    return held


both = pytest.mark.parametrize("download", [file, blob])


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandinRegistry]:
    monkeypatch.setattr(http, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with serving() as standin:
        standin.blobs[DIGEST] = DATA
        yield standin


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "partial" / "thing.part"


def asked(registry: StandinRegistry) -> list[str | None]:
    """The range of each request."""
    return [headers.get("Range") for _path, headers in registry.seen]


def said(download: Download, registry: StandinRegistry, part: Path) -> str:
    """The message, without what the two call by other names."""
    with pytest.raises(ArtifactError) as caught:
        download(registry, part)
    return OWN.sub("…", str(caught.value))


@both
def test_it_goes_on_where_the_connection_broke(download: Download, registry: StandinRegistry, part: Path) -> None:
    registry.cut[DIGEST] = 200_000
    held = download(registry, part)
    assert part.read_bytes() == DATA
    assert asked(registry) == [None, "bytes=196608-"]
    assert held == sorted(held)
    assert held[-1] == len(DATA)


@both
def test_it_goes_on_with_what_an_earlier_run_left(download: Download, registry: StandinRegistry, part: Path) -> None:
    part.parent.mkdir()
    part.write_bytes(DATA[:1000])
    download(registry, part)
    assert part.read_bytes() == DATA
    assert asked(registry) == ["bytes=1000-"]


@both
def test_what_is_whole_already_stays(download: Download, registry: StandinRegistry, part: Path) -> None:
    part.parent.mkdir()
    part.write_bytes(DATA)
    if download is file:  # of which nobody knows how long it is
        registry.answers = [416]
    assert download(registry, part) == []
    assert part.read_bytes() == DATA


@both
@pytest.mark.parametrize("wrong", [b"other", b"x" * (len(DATA) + 1)])
def test_first_bytes_of_something_else_are_thrown_away(
    download: Download, wrong: bytes, registry: StandinRegistry, part: Path
) -> None:
    part.parent.mkdir()
    part.write_bytes(wrong)
    download(registry, part)
    assert part.read_bytes() == DATA


@both
def test_without_ranges_it_begins_again(download: Download, registry: StandinRegistry, part: Path) -> None:
    registry.cut[DIGEST], registry.ranges = 200_000, False
    download(registry, part)
    assert part.read_bytes() == DATA


@both
def test_a_busy_server_is_asked_again(download: Download, registry: StandinRegistry, part: Path) -> None:
    registry.answers = [503, 429]
    download(registry, part)
    assert part.read_bytes() == DATA
    assert len(registry.seen) == 3


@both
def test_a_server_that_stays_busy_is_given_up(download: Download, registry: StandinRegistry, part: Path) -> None:
    registry.answers = [503] * 9
    assert said(download, registry, part) == (
        "… cannot be had after 3 attempts (it answered 503). Check the network and the proxy. … Run the same command "
        "again: it resumes where it stopped."
    )
    assert len(registry.seen) == 3


@both
def test_nobody_there(download: Download, registry: StandinRegistry, part: Path) -> None:
    registry.server.socket.close()
    message = said(download, registry, part)
    assert message.startswith("… cannot be had after 3 attempts (ConnectionError: ")
    assert message.endswith(
        "Check the network and the proxy. … Run the same command again: it resumes where it stopped."
    )


@both
def test_more_bytes_than_it_has_are_refused(download: Download, registry: StandinRegistry, part: Path) -> None:
    registry.extra = b"x"
    assert said(download, registry, part) == f"… sends more than {len(DATA)} bytes: refused. …"
    assert part.read_bytes() == b""


@both
def test_fewer_bytes_than_it_has_are_never_taken_for_it(
    download: Download, registry: StandinRegistry, part: Path
) -> None:
    registry.blobs[DIGEST] = DATA[:-1]
    message = said(download, registry, part)
    if download is blob:  # whose length was known before
        assert f"after 3 attempts (the connection ended after {len(DATA) - 1} of {len(DATA)} bytes)" in message
    else:
        assert f"({len(DATA) - 1} bytes), needed sha256 {DIGEST[7:19]}…" in message


@both
@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (DATA[:-1] + b"\0", "sha256 " + hashlib.sha256(DATA[:-1] + b"\0").hexdigest()[:12] + "…"),
        (b"\n<!DOCTYPE html>" + DATA[16:], "a web page"),
    ],
)
def test_other_bytes_are_refused_and_thrown_away(
    download: Download, wrong: bytes, found: str, registry: StandinRegistry, part: Path
) -> None:
    registry.blobs[DIGEST] = wrong
    assert said(download, registry, part) == (
        f"…: found {found} ({len(DATA)} bytes), needed sha256 {DIGEST[7:19]}…. It was thrown away; run the same "
        "command again, and check the proxy or mirror if this repeats. …"
    )
    assert not part.exists()
    registry.blobs[DIGEST] = DATA
    download(registry, part)


@both
def test_what_cannot_be_written_is_said(download: Download, registry: StandinRegistry, part: Path) -> None:
    part.parent.write_text("no folder")
    message = said(download, registry, part)
    assert "could not be written on this controller: " in message
    assert message.endswith(http.AGAIN)
    assert registry.seen == []


def test_what_must_not_be_asked_for_again_is_not(registry: StandinRegistry, part: Path) -> None:
    registry.answers = [404, 403]
    with pytest.raises(ArtifactError, match=r"answered 404, needed 200\. Ask the site\."):
        file(registry, part)
    with pytest.raises(ArtifactError, match=r"answered 403 .*docker login"):
        blob(registry, part)
    assert len(registry.seen) == 2


def test_other_errors_are_neither_hidden_nor_repeated() -> None:
    calls = []

    def attempt() -> None:
        calls.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        http.patiently(attempt)
    assert len(calls) == 1
