"""A client of the Registry HTTP API v2 (OCI distribution): manifests and blobs, each checked against its SHA-256.

Only what fetching needs. Nothing is trusted because of where it came from: a manifest is what its digest says, and a
blob is what the manifest says.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import requests

from phi4_edge import __version__
from phi4_edge.artifacts.images import auth as registry_auth
from phi4_edge.core import image_walk, strict_json
from phi4_edge.core.image_reference import Endpoint
from phi4_edge.errors import ArtifactError

T = TypeVar("T")

DOCKER_MANIFEST, OCI_MANIFEST, OCI_INDEX = image_walk.DOCKER_MANIFEST, image_walk.OCI_MANIFEST, image_walk.OCI_INDEX
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))
TIMEOUT = (20.0, 60.0)  # seconds to connect, seconds without a byte
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before each further attempt
_BLOCK = 1 << 16  # what a connection that breaks may lose
_SYSTEM_CA = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


@dataclass(frozen=True)
class Document:
    """A manifest or index as the registry holds it: its exact bytes, and what they are."""

    digest: str
    media_type: str
    raw: bytes

    @property
    def data(self) -> dict[str, Any]:
        """The JSON object."""
        return dict(json.loads(self.raw))


class NotThereError(ArtifactError):
    """The registry answers, and does not have what it was asked for."""


class _AgainError(Exception):
    """Worth another attempt: a server error, or a connection that broke."""


class Registry:
    """One repository in one registry; a context that closes its connections at the end."""

    def __init__(self, endpoint: Endpoint, pauses: tuple[float, ...] = PAUSES) -> None:
        self.endpoint = endpoint
        self._pauses = pauses
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"phi4-edge/{__version__}"
        self._session.verify = trust()
        self._session.max_redirects = 5
        self._auth = registry_auth.Header()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def manifest(self, reference: str) -> Document:
        """The manifest or index called `reference` (a tag or a digest), its bytes checked where a digest says what.

        Raises ArtifactError when there is none, or it is another one than was asked for.
        """

        def once() -> Document:
            with self._get(f"manifests/{reference}", {"Accept": ACCEPT}) as answer:
                raw = _bounded(answer, image_walk.MAX_MANIFEST, self.endpoint.name)
                said = answer.headers.get("Content-Type", "").partition(";")[0].strip()
            return _document(raw, said, f"{self.endpoint.name}, {reference}")

        with self._explained():
            found = self._patiently(once)
        if reference.startswith("sha256:") and found.digest != reference:
            raise ArtifactError(
                f"{self.endpoint.host} answered with {found.digest} for {self.endpoint.repository}@{reference}: the "
                "registry or what is between changed it. Nothing was kept; check the mirror and the proxy"
            )
        return found

    def blob(self, digest: str, size: int, part: Path, seen: Callable[[int], None]) -> None:
        """Complete `part`, which may hold the first bytes of the blob already, to exactly `size` checked bytes.

        `seen` gets the bytes held so far. Raises ArtifactError; what was received stays for the next attempt, unless it
        was wrong.
        """
        part.parent.mkdir(parents=True, exist_ok=True)

        def once() -> None:
            with part.open("ab") as stream:
                if stream.tell() > size:
                    stream.truncate(0)
                if stream.tell() < size or size == 0:
                    self._receive(digest, size, stream, seen)
                stream.flush()
                os.fsync(stream.fileno())
            if part.stat().st_size != size:
                raise _AgainError(f"the connection ended after {part.stat().st_size} of {size} bytes of {digest[:19]}")

        with self._explained():
            self._patiently(once)
        with part.open("rb") as stream:
            found = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
        if found != digest:
            part.unlink()
            raise ArtifactError(
                f"{self.endpoint.name}: found {found[:19]}… where {digest[:19]}… was needed ({size} bytes). It was "
                "thrown away; run the same command again, and check the proxy or mirror if this repeats"
            )

    def _receive(self, digest: str, size: int, stream: Any, seen: Callable[[int], None]) -> None:
        start = stream.seek(0, os.SEEK_END)
        # Compressed bytes could not be resumed at an offset of the blob.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with self._get(f"blobs/{digest}", headers, stream=True) as answer:
            resumed = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            if start and not (answer.status_code == 206 and resumed):
                start = 0
                stream.truncate(0)
            if answer.status_code == 416:
                raise _AgainError("the registry cannot resume there")
            held = start
            for block in answer.iter_content(_BLOCK):
                held += len(block)
                if held > size:
                    stream.truncate(0)
                    raise ArtifactError(
                        f"{self.endpoint.name} sends more than the {size} bytes that {digest[:19]}… has: refused"
                    )
                stream.write(block)
                seen(held)

    def _get(self, path: str, headers: Mapping[str, str], stream: bool = True) -> requests.Response:
        """An answer worth reading. 404 and refusals raise ArtifactError, what may pass raises _AgainError."""
        url = f"{self.endpoint.url}/v2/{self.endpoint.repository}/{path}"
        answer = self._session.get(url, headers=headers, auth=self._auth, stream=stream, timeout=TIMEOUT)
        if answer.status_code == 401:
            self._log_in(answer)
            answer = self._session.get(url, headers=headers, auth=self._auth, stream=stream, timeout=TIMEOUT)
        status, where = answer.status_code, f"{self.endpoint.name} ({path.partition('/')[2][:40]})"
        secure = [urlsplit(step.url).scheme == "https" for step in (*answer.history, answer)]
        if secure[0] and not all(secure):
            answer.close()
            raise ArtifactError(f"{self.endpoint.host} leads from https to http for {where}: refused")
        if status in (200, 206, 416):
            return answer
        answer.close()
        if status >= 500 or status == 429:
            raise _AgainError(f"it answered {status}")
        if status in (401, 403):
            raise ArtifactError(
                f"{self.endpoint.host} answered {status} for {where}: it does not let us read it. Log in on this "
                f"controller with 'docker login {self.endpoint.host}', or set phi4_image_mirror to a registry of yours"
            )
        if status == 404:
            raise NotThereError(
                f"{self.endpoint.host} has no {where}: check repository, tag and digest in the catalog, and "
                "phi4_image_mirror"
            )
        raise ArtifactError(f"{self.endpoint.host} answered {status} for {where}, needed 200: is it a registry?")

    def _log_in(self, answer: requests.Response) -> None:
        """Have what the registry's challenge asks for. Raises ArtifactError when that is not to be had."""
        scheme, parameters = registry_auth.challenge(answer.headers.get("WWW-Authenticate", ""))
        answer.close()
        known = registry_auth.credentials(urlsplit(self.endpoint.url).netloc)
        if scheme == "basic" and known:
            self._auth = registry_auth.basic(*known)
        elif scheme == "bearer" and "realm" in parameters:
            self._auth = registry_auth.Header(f"Bearer {self._token(parameters, known)}")

    def _token(self, parameters: Mapping[str, str], known: tuple[str, str] | None) -> str:
        realm = parameters["realm"]
        secure = urlsplit(self.endpoint.url).scheme == "https"
        if urlsplit(realm).scheme not in (("https",) if secure else ("https", "http")):
            raise ArtifactError(f"{self.endpoint.host} asks for a login at {realm[:100]}, needed an https address")
        query = {"service": parameters.get("service", ""), "scope": f"repository:{self.endpoint.repository}:pull"}
        auth = registry_auth.basic(*known) if known else registry_auth.Header()
        with self._session.get(realm, params=query, auth=auth, timeout=TIMEOUT, stream=True) as answer:
            if answer.status_code >= 500 or answer.status_code == 429:
                raise _AgainError(f"its token service answered {answer.status_code}")
            if answer.status_code != 200:
                raise ArtifactError(
                    f"the token service of {self.endpoint.host} answered {answer.status_code}: log in on this "
                    f"controller with 'docker login {self.endpoint.host}'"
                )
            document = json.loads(_bounded(answer, 1 << 20, "the token service"))
        return str(document.get("token") or document["access_token"])

    def _patiently(self, attempt: Callable[[], T]) -> T:
        for pause in self._pauses:
            with contextlib.suppress(_AgainError, requests.ConnectionError, requests.Timeout, _CUT_SHORT):
                return attempt()
            time.sleep(pause)
        return attempt()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what can go wrong on the way into found, needed and what to do next."""
        again = "Run the same command again: it resumes where it stopped."
        try:
            yield
        except ArtifactError:
            raise
        except requests.exceptions.SSLError as error:
            raise ArtifactError(
                f"{self.endpoint.host} has no certificate that this controller trusts ({_short(error)}): add its CA to "
                "the system or name it in SSL_CERT_FILE, or write the mirror as http://… if it has no TLS at all"
            ) from error
        except (_AgainError, requests.RequestException) as error:
            tries = len(self._pauses) + 1
            raise ArtifactError(
                f"{self.endpoint.host} does not deliver {self.endpoint.repository} after {tries} attempts "
                f"({_short(error)}). Check the network, the proxy and phi4_image_mirror. {again}"
            ) from error
        except OSError as error:
            raise ArtifactError(
                f"{self.endpoint.repository} could not be written on this controller: {error}. {again}"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactError(f"{self.endpoint.host} does not answer as a registry does ({_short(error)})") from error


_CUT_SHORT = requests.exceptions.ChunkedEncodingError


def trust() -> str | bool:
    """What TLS is verified with: SSL_CERT_FILE, else the system's bundle, else that of requests."""
    chosen = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    return chosen or next((path for path in _SYSTEM_CA if Path(path).is_file()), True)


def _bounded(answer: requests.Response, limit: int, where: str) -> bytes:
    raw = b""
    for block in answer.iter_content(1 << 16):
        raw += block
        if len(raw) > limit:
            raise ArtifactError(f"{where} sends a document of more than {limit} bytes: refused")
    return raw


def _document(raw: bytes, said: str, where: str) -> Document:
    data = strict_json.loads(raw, image_walk.MAX_PARTS)
    if not isinstance(data, dict):
        raise ArtifactError(f"{where}: not a JSON object, so not a manifest")
    inside = data.get("mediaType")
    kind = inside if isinstance(inside, str) else said
    if kind not in (DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX):
        raise ArtifactError(
            f"{where}: found a manifest of type {kind[:80]!r}, needed a Docker v2.2 or OCI manifest; push the image "
            "again with a current Docker"
        )
    return Document("sha256:" + hashlib.sha256(raw).hexdigest(), kind, raw)


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
