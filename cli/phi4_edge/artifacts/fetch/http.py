"""A file from a web address, byte for byte: resumed where it stopped, and thrown away unless its SHA-256 is right."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import requests

from phi4_edge import __version__
from phi4_edge.artifacts.images.registry import trust
from phi4_edge.errors import ArtifactError

T = TypeVar("T")

TIMEOUT = (20.0, 60.0)  # seconds to connect, seconds without a byte
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before each further attempt after a server error or a lost connection
AGAIN = "Run the same command again: it resumes where it stopped."
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Address:
    """Where a file is, and what to do when it cannot be had from there (`hint`, a sentence).

    Name and password in `url` are used and never shown.
    """

    url: str
    hint: str

    @property
    def name(self) -> str:
        """Last part of the address."""
        return urlsplit(self.url).path.rpartition("/")[2]

    @property
    def shown(self) -> str:
        """The address without credentials."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    @property
    def credentials(self) -> tuple[str, str] | None:
        """Name and password in the address."""
        parts = urlsplit(self.url)
        return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


class _AgainError(Exception):
    """Worth another attempt: a server error, or a connection that broke."""


def fetch(address: Address, sha256: str, part: Path, limit: int, seen: Callable[[int, int], None]) -> None:
    """Complete `part`, which may hold the first bytes already, to the file of this `sha256`, at most `limit` bytes.

    `seen` gets the bytes held and the bytes in all (0: not known). Raises ArtifactError; what was received stays for
    the next attempt, unless it was wrong.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    resumed = part.is_file() and part.stat().st_size > 0
    found = _complete(address, part, limit, seen)
    if found != sha256 and resumed:  # the first bytes were of another file: once more from the start
        part.unlink()
        found = _complete(address, part, limit, seen)
    if found == sha256:
        return
    with part.open("rb") as stream:
        page = stream.read(512).lstrip().lower().startswith((b"<!doctype", b"<html"))
    size = part.stat().st_size
    part.unlink()
    what = "a web page" if page else f"sha256 {found[:12]}…"
    raise ArtifactError(
        f"{address.shown}: found {what} ({size} bytes), needed sha256 {sha256[:12]}…. It was thrown away; run the same "
        f"command again, and check the proxy or mirror if this repeats. {address.hint}"
    )


def text(address: Address, limit: int = 1 << 20) -> str:
    """The document at `address`. Raises ArtifactError when it cannot be had or has more than `limit` bytes."""

    def once() -> bytes:
        with _get(address, {}) as answer:
            raw = b""
            for block in answer.iter_content(1 << 16):
                raw += block
                if len(raw) > limit:
                    raise ArtifactError(f"{address.shown} has more than {limit} bytes: refused. {address.hint}")
        return raw

    with _explained(address):
        return _patiently(once).decode("utf-8", errors="replace")


def _complete(address: Address, part: Path, limit: int, seen: Callable[[int, int], None]) -> str:
    """SHA-256 of `part` after everything that the address has is in it."""

    def once() -> None:
        with part.open("ab") as stream:
            _receive(address, stream, limit, seen)
            stream.flush()
            os.fsync(stream.fileno())

    with _explained(address):
        _patiently(once)
    with part.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _receive(address: Address, stream: BinaryIO, limit: int, seen: Callable[[int, int], None]) -> None:
    start = stream.seek(0, os.SEEK_END)
    # Compressed bytes could not be resumed at an offset of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with _get(address, headers) as answer:
        if answer.status_code == 416:  # nothing after what is held; the hash says whether it is all
            return
        if start and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
            stream.truncate(0)
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else 0
        held = start
        for block in answer.iter_content(_BLOCK):
            held += len(block)
            if held > limit:
                stream.truncate(0)
                raise ArtifactError(f"{address.shown} sends more than {limit} bytes: refused. {address.hint}")
            stream.write(block)
            seen(held, total)
        if total and held < total:
            raise _AgainError(f"the connection ended after {held} of {total} bytes")


def _get(address: Address, headers: dict[str, str]) -> requests.Response:
    """An answer worth reading. What is refused or not there raises ArtifactError, what may pass raises _AgainError."""
    if urlsplit(address.url).scheme not in ("http", "https"):
        raise ArtifactError(f"{address.shown}: needed an address that starts with https:// or http://. {address.hint}")
    # Credentials of ~/.netrc are not for a public download, and their lookup would follow redirects.
    with requests.Session() as session:
        session.auth = address.credentials or _no_credentials
        session.max_redirects = 5
        agent = {"User-Agent": f"phi4-edge/{__version__}"}
        answer = session.get(address.url, headers={**agent, **headers}, stream=True, timeout=TIMEOUT, verify=trust())
    secure = [urlsplit(step.url).scheme == "https" for step in (*answer.history, answer)]
    if secure[0] and not all(secure):
        answer.close()
        raise ArtifactError(f"{address.shown} leads from https to http: refused. {address.hint}")
    if answer.status_code in (200, 206, 416):
        return answer
    answer.close()
    if answer.status_code >= 500 or answer.status_code == 429:
        raise _AgainError(f"it answered {answer.status_code}")
    raise ArtifactError(f"{address.shown}: answered {answer.status_code}, needed 200. {address.hint}")


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _patiently(attempt: Callable[[], T]) -> T:
    """The result of `attempt`, tried again after what may pass, as often as PAUSES says."""
    passing = (_AgainError, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    for pause in PAUSES:
        try:
            return attempt()
        except requests.exceptions.SSLError:
            raise
        except passing:
            time.sleep(pause)
    return attempt()


@contextlib.contextmanager
def _explained(address: Address) -> Iterator[None]:
    """Turns what can go wrong on the way into found, needed and what to do next."""
    try:
        yield
    except ArtifactError:
        raise
    except requests.exceptions.SSLError as error:
        raise ArtifactError(
            f"{address.shown}: found no certificate that this controller trusts ({_short(error)}): add its CA to the "
            "system, or name it in SSL_CERT_FILE"
        ) from error
    except (_AgainError, requests.RequestException) as error:
        raise ArtifactError(
            f"{address.shown} cannot be had after {len(PAUSES) + 1} attempts ({_short(error)}). Check the network and "
            f"the proxy. {address.hint} {AGAIN}"
        ) from error
    except OSError as error:
        raise ArtifactError(f"{address.name} could not be written on this controller: {error}. {AGAIN}") from error


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
