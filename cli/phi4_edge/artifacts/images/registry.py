"""A client of the Registry HTTP API v2 (OCI distribution): manifests and blobs, each checked against its SHA-256.

Only what fetching needs. Nothing is trusted because of where it came from: a manifest is what its digest says, and a
blob is what the manifest says.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import requests

from phi4_edge.artifacts.fetch import http
from phi4_edge.artifacts.fetch.http import Address
from phi4_edge.artifacts.images import auth as images_auth
from phi4_edge.core import image_walk, strict_json
from phi4_edge.core.image_reference import Endpoint
from phi4_edge.errors import ArtifactError

DOCKER_MANIFEST, OCI_MANIFEST, OCI_INDEX = image_walk.DOCKER_MANIFEST, image_walk.OCI_MANIFEST, image_walk.OCI_INDEX
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))
SETTING = "phi4_image_mirror"


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


class Registry:
    """One repository in one registry; a context that closes its connections at the end."""

    def __init__(self, endpoint: Endpoint, setting: str = SETTING) -> None:
        """`setting`: what an operator sets to name another registry in place of this one."""
        self.endpoint, self._setting = endpoint, setting
        self._hint = f"{setting} names a registry that holds the same; http://… is one that has no TLS at all."
        self._session = http.session(images_auth.Header())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def manifest(self, reference: str) -> Document:
        """The manifest or index called `reference` (a tag or a digest), its bytes checked where a digest says what.

        Raises ArtifactError when there is none, or it is another one than was asked for.
        """
        address = self._address("manifests", reference)

        def once() -> Document:
            with self._get(address, {"Accept": ACCEPT}) as answer:
                raw = http.bounded(answer, address, image_walk.MAX_MANIFEST)
                said = answer.headers.get("Content-Type", "").partition(";")[0].strip()
            return _document(raw, said, f"{self.endpoint.name}, {reference}")

        with self._understood(), http.explained(address):
            found = http.patiently(once)
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
        address = self._address("blobs", digest)

        def get(headers: Mapping[str, str]) -> requests.Response:
            return self._get(address, headers)

        with self._understood():
            sha256 = digest.removeprefix("sha256:")
            http.complete(address, get, sha256, part, size, lambda held, _: seen(held), exact=True)

    def _address(self, kind: str, name: str) -> Address:
        url = f"{self.endpoint.url}/v2/{self.endpoint.repository}/{kind}/{name}"
        return Address(url, self._hint, f"{self.endpoint.name} ({name[:40]})")

    def _get(self, address: Address, headers: Mapping[str, str]) -> requests.Response:
        """An answer worth reading. 404 and refusals raise ArtifactError, what may pass raises TransientError."""
        answer = http.ask(self._session, address, headers)
        if answer.status_code == 401:
            self._log_in(answer)
            answer = http.ask(self._session, address, headers)
        status = answer.status_code
        if status in http.READABLE:
            return answer
        answer.close()
        if status in (401, 403):
            raise ArtifactError(
                f"{self.endpoint.host} answered {status} for {address.shown}: it does not let us read it. Log in on "
                f"this controller with 'docker login {self.endpoint.host}', or set {self._setting} to a registry of "
                "yours"
            )
        if status == 404:
            raise NotThereError(
                f"{self.endpoint.host} has no {address.shown}: check repository, tag and digest in the catalog, and "
                f"{self._setting}"
            )
        raise ArtifactError(
            f"{self.endpoint.host} answered {status} for {address.shown}, needed 200: is it a registry?"
        )

    def _log_in(self, answer: requests.Response) -> None:
        """Have what the registry's challenge asks for. Raises ArtifactError when that is not to be had."""
        scheme, parameters = images_auth.challenge(answer.headers.get("WWW-Authenticate", ""))
        answer.close()
        known = images_auth.credentials(urlsplit(self.endpoint.url).netloc)
        if scheme == "basic" and known:
            self._session.auth = images_auth.basic(*known)
        elif scheme == "bearer" and "realm" in parameters:
            self._session.auth = images_auth.Header(f"Bearer {self._token(parameters, known)}")

    def _token(self, parameters: Mapping[str, str], known: tuple[str, str] | None) -> str:
        realm = parameters["realm"]
        secure = urlsplit(self.endpoint.url).scheme == "https"
        if urlsplit(realm).scheme not in (("https",) if secure else ("https", "http")):
            raise ArtifactError(f"{self.endpoint.host} asks for a login at {realm[:100]}, needed an https address")
        query = {"service": parameters.get("service", ""), "scope": f"repository:{self.endpoint.repository}:pull"}
        auth = images_auth.basic(*known) if known else images_auth.Header()
        with self._session.get(realm, params=query, auth=auth, timeout=http.TIMEOUT, stream=True) as answer:
            if answer.status_code >= 500 or answer.status_code == 429:
                raise http.TransientError(f"its token service answered {answer.status_code}")
            if answer.status_code != 200:
                raise ArtifactError(
                    f"the token service of {self.endpoint.host} answered {answer.status_code}: log in on this "
                    f"controller with 'docker login {self.endpoint.host}'"
                )
            service = Address(realm, self._hint, f"the token service of {self.endpoint.host}")
            document = json.loads(http.bounded(answer, service, 1 << 20))
        return str(document.get("token") or document["access_token"])

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """Raises ArtifactError for an answer that has not the form that it must have."""
        try:
            yield
        except ArtifactError:  # a ValueError too, and says more than we could
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactError(
                f"{self.endpoint.host} does not answer as a registry does ({http.short(error)})"
            ) from error


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
