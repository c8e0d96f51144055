"""Bytes from a web address: taken up where they stopped, tried again, within a limit, and every error explained.

What is public serves files, documents and container registries alike. Nothing is kept for right because it arrived:
who calls compares the SHA-256.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import requests

from phi4_edge import __version__
from phi4_edge.artifacts.store.manifest import sha256_of
from phi4_edge.errors import ArtifactError

T = TypeVar("T")
Get = Callable[[Mapping[str, str]], requests.Response]  # asks with these headers
Seen = Callable[[int, int], None]  # gets the bytes held and the bytes in all (0: not known)
Auth = tuple[str, str] | Callable[[requests.PreparedRequest], requests.PreparedRequest]

TIMEOUT = (20.0, 60.0)  # seconds to connect, seconds without a byte
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before each further attempt after a server error or a lost connection
AGAIN = "Run the same command again: it resumes where it stopped."
READABLE = (200, 206, 416)
_BLOCK = 1 << 16  # what a connection that breaks may lose
_SYSTEM_CA = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


@dataclass(frozen=True)
class Address:
    """Where something is, what messages call it, and what to do when it cannot be had from there (`hint`, a sentence).

    Name and password in `url` are used and never shown. Without `called` it is called by its address.
    """

    url: str
    hint: str
    called: str = ""

    @property
    def name(self) -> str:
        """What is written here: last part of the address."""
        return self.called or urlsplit(self.url).path.rpartition("/")[2]

    @property
    def shown(self) -> str:
        """The address without credentials."""
        parts = urlsplit(self.url)
        return self.called or urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    @property
    def credentials(self) -> tuple[str, str] | None:
        """Name and password in the address."""
        parts = urlsplit(self.url)
        return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


class TransientError(Exception):
    """Worth another attempt: a server error, or a connection that broke."""


def trust() -> str | bool:
    """What TLS is verified with: SSL_CERT_FILE, else the system's bundle, else that of requests."""
    chosen = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    return chosen or next((path for path in _SYSTEM_CA if Path(path).is_file()), True)


def session(auth: Auth | None = None) -> requests.Session:
    """A session that trusts what this controller trusts, and shows who we are to nobody without `auth`."""
    made = requests.Session()
    made.headers["User-Agent"] = f"phi4-edge/{__version__}"
    made.verify = trust()
    made.max_redirects = 5
    # Credentials of ~/.netrc are not for a public download, and their lookup would follow redirects.
    made.auth = auth or _no_credentials
    return made


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def ask(opened: requests.Session, address: Address, headers: Mapping[str, str]) -> requests.Response:
    """Whatever was answered, its body still to be read.

    Raises TransientError for what may pass, ArtifactError for an address that is none or leads from https to http.
    """
    if urlsplit(address.url).scheme not in ("http", "https"):
        raise ArtifactError(f"{address.shown}: needed an address that starts with https:// or http://. {address.hint}")
    answer = opened.get(address.url, headers=headers, stream=True, timeout=TIMEOUT)
    secure = [urlsplit(step.url).scheme == "https" for step in (*answer.history, answer)]
    if secure[0] and not all(secure):
        answer.close()
        raise ArtifactError(f"{address.shown} leads from https to http: refused. {address.hint}")
    if answer.status_code >= 500 or answer.status_code == 429:
        answer.close()
        raise TransientError(f"it answered {answer.status_code}")
    return answer


def fetch(address: Address, sha256: str, part: Path, limit: int, seen: Seen) -> None:
    """Complete `part`, as `complete` does, to the file of this `sha256`, at most `limit` bytes."""
    with session(address.credentials) as opened:
        complete(address, lambda headers: _get(opened, address, headers), sha256, part, limit, seen)


def text(address: Address, limit: int = 1 << 20) -> str:
    """The document at `address`. Raises ArtifactError when it cannot be had or has more than `limit` bytes."""

    def once() -> bytes:
        with session(address.credentials) as opened, _get(opened, address, {}) as answer:
            return bounded(answer, address, limit)

    with explained(address):
        return patiently(once).decode("utf-8", errors="replace")


def _get(opened: requests.Session, address: Address, headers: Mapping[str, str]) -> requests.Response:
    """An answer worth reading. Raises TransientError for what may pass, ArtifactError for any other."""
    answer = ask(opened, address, headers)
    if answer.status_code in READABLE:
        return answer
    answer.close()
    raise ArtifactError(f"{address.shown}: answered {answer.status_code}, needed 200. {address.hint}")


def bounded(answer: requests.Response, address: Address, limit: int) -> bytes:
    """The body. Raises ArtifactError when it has more than `limit` bytes."""
    raw = bytearray()
    for block in answer.iter_content(_BLOCK):
        raw += block
        if len(raw) > limit:
            raise ArtifactError(f"{address.shown} has more than {limit} bytes: refused. {address.hint}")
    return bytes(raw)


def complete(address: Address, get: Get, sha256: str, part: Path, limit: int, seen: Seen, exact: bool = False) -> None:
    """Complete `part`, which may hold the first bytes already, to what has this `sha256`.

    It has at most `limit` bytes, `exact`: no less either. `get` asks for it; what it raises as TransientError is tried
    again. Raises ArtifactError; what was received stays for the next attempt, unless it was wrong.
    """
    resumed = part.is_file() and part.stat().st_size > 0
    found = _resumed(address, get, part, limit, seen, exact)
    if found != sha256 and resumed:  # the first bytes were of something else: once more from the start
        part.unlink()
        found = _resumed(address, get, part, limit, seen, exact)
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


def _resumed(address: Address, get: Get, part: Path, limit: int, seen: Seen, exact: bool) -> str:
    """SHA-256 of `part` after everything that there is to be had is in it."""

    def once() -> None:
        with part.open("ab") as stream:
            _receive(address, get, stream, limit, seen, exact)
            stream.flush()
            os.fsync(stream.fileno())

    with explained(address):
        part.parent.mkdir(parents=True, exist_ok=True)
        patiently(once)
        return sha256_of(part)


def _receive(address: Address, get: Get, stream: BinaryIO, limit: int, seen: Seen, exact: bool) -> None:
    start = stream.seek(0, os.SEEK_END)
    if start > limit:
        start = stream.truncate(0)
    if exact and start == limit:
        return
    # Compressed bytes could not be resumed at their offset.
    with get({"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})) as answer:
        if answer.status_code == 416 and not exact:  # nothing after what is held; the hash says whether it is all
            return
        follows = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if start and not (answer.status_code == 206 and follows):
            start = stream.truncate(0)
        if answer.status_code == 416:
            raise TransientError("it cannot resume there")
        length = answer.headers.get("Content-Length", "")
        known = length.isdecimal() and len(length) < 20
        total = limit if exact else start + int(length) if known else 0
        held = start
        for block in answer.iter_content(_BLOCK):
            held += len(block)
            if held > limit:
                stream.truncate(0)
                raise ArtifactError(f"{address.shown} sends more than {limit} bytes: refused. {address.hint}")
            stream.write(block)
            seen(held, total)
        if held < total:
            raise TransientError(f"the connection ended after {held} of {total} bytes")


def patiently(attempt: Callable[[], T], passes: Callable[[Exception], bool] | None = None) -> T:
    """The result of `attempt`, tried again after an error that `passes`, as often as PAUSES says."""
    for pause in PAUSES:
        try:
            return attempt()
        except Exception as error:
            if not (passes or _passes)(error):
                raise
        time.sleep(pause)
    return attempt()


def _passes(error: Exception) -> bool:
    """Whether it may be over by the next attempt. What nobody trusts stays so."""
    passing = (TransientError, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, passing) and not isinstance(error, requests.exceptions.SSLError)


@contextlib.contextmanager
def explained(address: Address) -> Iterator[None]:
    """Turns what can go wrong on the way into found, needed and what to do next."""
    try:
        yield
    except ArtifactError:
        raise
    except requests.exceptions.SSLError as error:
        raise ArtifactError(
            f"{address.shown}: found no certificate that this controller trusts ({short(error)}): add its CA to the "
            f"system, or name it in SSL_CERT_FILE. {address.hint}"
        ) from error
    except (TransientError, requests.RequestException) as error:
        raise ArtifactError(
            f"{address.shown} cannot be had after {len(PAUSES) + 1} attempts ({short(error)}). Check the network and "
            f"the proxy. {address.hint} {AGAIN}"
        ) from error
    except OSError as error:
        raise ArtifactError(f"{address.name} could not be written on this controller: {error}. {AGAIN}") from error


def short(error: BaseException) -> str:
    """The error in one line: its kind, unless it is ours, and its words."""
    words = " ".join(str(error).split())[:200]
    return words if isinstance(error, TransientError) else f"{type(error).__name__}: {words}"
