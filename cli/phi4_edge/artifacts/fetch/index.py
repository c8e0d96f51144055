"""Where a package index has one file: pip's own settings are read, pip itself would build what it downloads."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from phi4_edge.artifacts.convert import environment, process
from phi4_edge.artifacts.fetch import http
from phi4_edge.artifacts.fetch.http import Address
from phi4_edge.errors import ArtifactError

# Where pip itself looks when nothing is set.
_ASK = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
HINT = "pip's settings choose the index (PIP_INDEX_URL, PIP_FIND_LINKS, pip.conf)."
_LINK = re.compile(r"<a\b[^>]*\bhref\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)
_PAGE_LIMIT = 20_000_000


def find(package: str, name: str) -> Path | Address:
    """The file `name` of `package`: in a folder of PIP_FIND_LINKS, else at the index. Raises ArtifactError if not."""
    for folder in _setting("find-links").split():
        path = Path(folder.removeprefix("file://"))
        if (path / name).is_file():
            return path / name
    base = (_setting("index-url") or _default()).rstrip("/")
    page = Address(f"{base}/{package}/", HINT)
    for found in _LINK.findall(http.text(page, _PAGE_LIMIT)):
        url = urldefrag(urljoin(page.url, html.unescape(found))).url
        if unquote(urlsplit(url).path).rpartition("/")[2] == name:
            return Address(url, HINT)
    raise ArtifactError(f"{page.shown} has no {name}. {HINT}")


def _default() -> str:
    """The index that pip uses when nobody chose one. Raises ArtifactError when this pip does not tell."""
    python, isolated = environment.pip()[:2]
    ended = process.run([python, isolated, "-c", _ASK], process.fetching())
    if ended.status != 0 or not ended.tail or not ended.tail[-1].startswith("https://"):
        raise ArtifactError(f"pip does not say which index it uses. Set PIP_INDEX_URL. {HINT}")
    return ended.tail[-1]


def _setting(key: str) -> str:
    """pip's setting `key`: from the environment, else from its configuration files; empty when there is none."""
    if value := os.environ.get("PIP_" + key.upper().replace("-", "_")):
        return value
    ended = process.run([*environment.pip(), "config", "get", f"global.{key}"], process.fetching())
    return " ".join(ended.tail) if ended.status == 0 else ""
