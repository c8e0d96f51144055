"""Ollama's own API on a loopback port: blobs, create, pull, list. Its words come back as they are.

Sent in front of the script that uses it; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import http.client
import json
import os
from typing import Any, Iterator

from hostlib import BLOCK, HostError, Json
from hostrun import clean

# Validating and hashing 2.5 GB says nothing for as long as a slow card takes to read and write it.
SILENCE_SECONDS = 1800.0


class Api:
    """Asks one server. Every refusal, and a server that is gone, is a HostError with what it said."""

    def __init__(self, port: int) -> None:
        self.port = port

    def version(self) -> str:
        """Version of the server; "" while it does not answer."""
        try:
            status, body = self._ask("GET", "/api/version", seconds=5.0)
            return str(json.loads(body)["version"]) if status == 200 else ""
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            return ""

    def digests(self) -> dict[str, str]:
        """Digest of each model's manifest, by name with its tag."""
        return {str(one["name"]): str(one["digest"]) for one in self._json("GET", "/api/tags")["models"]}

    def template(self, model: str) -> str:
        """The chat template in force."""
        return str(self._json("POST", "/api/show", {"model": model}).get("template", ""))

    def has_blob(self, digest: str) -> bool:
        return self._said("HEAD", f"/api/blobs/{digest}")[0] == 200

    def send_blob(self, digest: str, path: str) -> None:
        """The file is a blob of the store. Raises HostError unless its content has that digest."""
        with open(path, "rb") as stream:
            blocks = iter(lambda: stream.read(BLOCK), b"")
            size = {"Content-Length": str(os.path.getsize(path))}
            status, body = self._said("POST", f"/api/blobs/{digest}", blocks, size)
        if status not in (200, 201):
            raise HostError(f"Ollama did not take the model: HTTP {status}: {refusal(body)}")

    def make(self, path: str, request: Json, progress: Any) -> None:
        """One `/api/create` or `/api/pull` is done, which is so only when its last line says success.

        `progress` is called with every new status. Raises HostError with Ollama's own words.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SILENCE_SECONDS)
        last = ""
        try:
            connection.request("POST", path, json.dumps(request), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            for line in lines(answer):
                if "error" in line:
                    raise HostError(f"Ollama could not make {request['model']}: {clean(str(line['error']), 1000)}")
                status = str(line.get("status", ""))
                if status != last:
                    progress(status)
                last = status
            if answer.status != 200 or last != "success":
                raise HostError(f"Ollama could not make {request['model']}: HTTP {answer.status}, ended with {last!r}")
        except (OSError, http.client.HTTPException) as error:
            raise HostError(f"Ollama went away while it made {request['model']}, after {last!r}: {error}") from None
        finally:
            connection.close()

    def _json(self, method: str, path: str, body: Json | None = None) -> Json:
        status, answer = self._said(method, path, None if body is None else json.dumps(body).encode())
        if status != 200:
            raise HostError(f"Ollama answered {path} with HTTP {status}: {refusal(answer)}")
        found: Json = json.loads(answer)
        return found

    def _said(self, method: str, path: str, body: Any = None, headers: Json | None = None) -> tuple[int, bytes]:
        try:
            return self._ask(method, path, body, headers or {})
        except (OSError, http.client.HTTPException) as error:
            raise HostError(f"found no answer from Ollama to {path}: {error}") from None

    def _ask(
        self, method: str, path: str, body: Any = None, headers: Json | None = None, seconds: float = SILENCE_SECONDS
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def lines(answer: http.client.HTTPResponse) -> Iterator[Json]:
    """The documents of an answer, one in each line."""
    for line in iter(answer.readline, b""):
        if line.strip():
            try:
                found = json.loads(line)
            except ValueError:
                raise HostError(f"Ollama answered what is no JSON: {refusal(line)}") from None
            yield found if isinstance(found, dict) else {}


def refusal(body: bytes) -> str:
    """The error in an answer, or the answer."""
    try:
        return clean(str(json.loads(body)["error"]), 1000)
    except (ValueError, KeyError, TypeError):
        return clean(body.decode("utf-8", "replace"), 1000)
