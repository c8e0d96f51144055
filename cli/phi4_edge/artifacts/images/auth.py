"""Who we are to a registry: its challenge, and what Docker's own configuration knows of the user."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from pathlib import Path
from typing import Any

from requests import PreparedRequest
from requests.auth import AuthBase

from phi4_edge.core.image_reference import DOCKER_HUB, DOCKER_HUB_HOST

# The key that `docker login` writes for Docker Hub.
_HUB_KEY = "https://index.docker.io/v1/"
_PAIR = re.compile(r'([a-zA-Z_]+)="([^"]*)"')


class Header(AuthBase):
    """Sends one Authorization header; requests drops it when a redirect leads to another host.

    With an empty `value` nothing is sent, not even what a .netrc has for the host.
    """

    def __init__(self, value: str = "") -> None:
        self._value = value

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """The request as it is sent."""
        if self._value:
            request.headers["Authorization"] = self._value
        return request

    def __repr__(self) -> str:
        return "Header(…)"


def challenge(header: str) -> tuple[str, dict[str, str]]:
    """Scheme (lower case) and parameters of a WWW-Authenticate header."""
    scheme, _, rest = header.strip().partition(" ")
    return scheme.lower(), {name.lower(): value for name, value in _PAIR.findall(rest)}


def credentials(host: str) -> tuple[str, str] | None:
    """User and password that `docker login` stored for `host` in ~/.docker/config.json; None for an anonymous user.

    A credential helper is a program of the user's desktop and is not run.
    """
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        entries = document["auths"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    names = (_HUB_KEY, DOCKER_HUB, DOCKER_HUB_HOST) if host == DOCKER_HUB_HOST else (host, f"https://{host}")
    for name in names:
        if isinstance(entries, dict) and (found := _login(entries.get(name))):
            return found
    return None


def _login(entry: Any) -> tuple[str, str] | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("auth"), str):
        return None
    try:
        user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password.rstrip("\0")) if user and password else None


def basic(user: str, password: str) -> Header:
    """HTTP Basic authentication."""
    return Header("Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
