"""The table in which Ansible says where each of its plugins went, read once per version of Ansible and not per command.

It is 370 KB of YAML, which takes longer to parse than an inventory of a thousand hosts to load.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_FORMAT = "routing-1"
_SMALL = 16 * 1024  # bytes of YAML that are parsed faster than a file is looked for
_OWN_ALONE = 0o077

Parse = Callable[[bytes | str, Any], Mapping[str, Any]]


def remember() -> None:
    """Ansible's loader of collections reads the table from our cache; a change of the table is another entry.

    Ansible names this function as one that tools may replace, with an id of the content to remember it by.
    """
    from ansible.utils.collection_loader import _collection_finder as finder

    parse = getattr(finder, "_meta_yml_to_dict", None)
    if parse is not None and not isinstance(parse, _Remembering):
        finder._meta_yml_to_dict = _Remembering(parse, _folder())


class _Remembering:
    def __init__(self, parse: Parse, folder: Path) -> None:
        self._parse, self._folder = parse, folder

    def __call__(self, text: bytes | str, content_id: Any) -> Mapping[str, Any]:
        raw = text if isinstance(text, bytes) else text.encode()
        if len(raw) < _SMALL:
            return self._parse(text, content_id)
        path = self._folder / f"{_FORMAT}-{hashlib.sha256(raw).hexdigest()}.json"
        found = self._read(path)
        if found is None:
            found = self._parse(text, content_id)
            with contextlib.suppress(OSError, TypeError, ValueError):  # no room, or nothing that JSON holds
                self._write(path, found)
        return found

    def _read(self, path: Path) -> Mapping[str, Any] | None:
        """None where there is none of ours."""
        try:
            with path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                if status.st_uid != os.geteuid() or status.st_mode & _OWN_ALONE:
                    return None
                found = json.load(stream)
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _write(self, path: Path, found: Mapping[str, Any]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self._folder, delete=False) as stream:  # mode 0600
            try:
                json.dump(found, stream)
                stream.flush()
                Path(stream.name).replace(path)
            except BaseException:
                Path(stream.name).unlink()
                raise


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "phi4-edge"
