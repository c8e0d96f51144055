"""Files of the host, read within limits: text of a regular file, or a Gap. A test has a folder stand for "/".

Python 3.8, standard library.
"""

from __future__ import annotations

import os
import stat

from hostsources import Cut
from hosttools import Gap, clean

TEXT_LIMIT = 32 * 1024


class Root:
    """The host below `top`, which is "" for the host itself."""

    def __init__(self, top: str) -> None:
        self.top = top

    def read_bytes(self, path: str, limit: int) -> bytes:
        handle = os.open(self.top + path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Gap("nonsense", "not a regular file")
            return stream.read(limit)

    def read(self, path: str, limit: int = TEXT_LIMIT) -> str:
        data = self.read_bytes(path, limit + 1)
        return Cut(clean(data[:limit])) if len(data) > limit else clean(data)

    def first(self, *paths: str) -> str:
        for path in paths:
            if os.path.exists(self.top + path):
                return self.read(path)
        raise Gap("missing", paths[0])
