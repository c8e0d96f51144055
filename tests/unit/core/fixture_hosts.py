"""The documents of the fixtures' hosts."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

HOSTS = Path(__file__).parents[2] / "fixtures" / "hosts"

Document = dict[str, Any]


@functools.cache
def read(name: str) -> Document:
    """What the probe said of this host; not to be changed."""
    document: Document = json.loads((HOSTS / f"{name}.json").read_text(encoding="utf-8"))
    return document
