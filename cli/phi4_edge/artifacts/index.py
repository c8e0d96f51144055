"""Where a package index has one file: pip's own settings are read, pip itself would build what it downloads."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from phi4_edge.artifacts import download, environment, process
from phi4_edge.artifacts.download import Address
from phi4_edge.errors import ArtifactError

DEFAULT = "https://pypi.org/simple"
HINT = "pip's settings choose the index (PIP_INDEX_URL, PIP_FIND_LINKS, pip.conf)."
_LINK = re.compile(r"<a\b[^>]*\bhref\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)
_PAGE_LIMIT = 20_000_000


def find(package: str, name: str) -> Path | Address:
    """The file `name` of `package`: in a folder of PIP_FIND_LINKS, else at the index. Raises ArtifactError if not."""
    for folder in _setting("find-links").split():
        path = Path(folder.removeprefix("file://"))
        if (path / name).is_file():
            return path / name
    base = _setting("index-url").rstrip("/") or DEFAULT
    page = Address(f"{base}/{package}/", HINT)
    for found in _LINK.findall(download.text(page, _PAGE_LIMIT)):
        url = urldefrag(urljoin(page.url, html.unescape(found))).url
        if unquote(urlsplit(url).path).rpartition("/")[2] == name:
            return Address(url, HINT)
    raise ArtifactError(f"{page.shown} has no {name}. {HINT}")


def _setting(key: str) -> str:
    """pip's setting `key`: from the environment, else from its configuration files; empty when there is none."""
    if value := os.environ.get("PIP_" + key.upper().replace("-", "_")):
        return value
    ended = process.run([*environment.pip(), "config", "get", f"global.{key}"], process.environment())
    return " ".join(ended.tail) if ended.status == 0 else ""
