"""The seal of a receipt: the SHA-256 of its own text, so that an edit by hand is seen, whatever it edits.

Python 3.8, standard library. It tells an accident from what we wrote, not a forger: who is root can seal anew.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict

MARK = b'"seal":"'
DIGITS = 64
OPEN = "0" * DIGITS  # stands in the text while it is hashed


def sealed(receipt: Dict[str, Any]) -> bytes:
    """The text of a receipt with its seal, as it is written."""
    text = json.dumps(dict(receipt, seal=OPEN), sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return text.replace(MARK + OPEN.encode(), MARK + digest(text).encode(), 1)


def intact(text: bytes) -> bool:
    """Whether a receipt is as it was written; one of an older version has no seal, and nobody knows."""
    at = text.find(MARK)
    if at < 0:
        return b'"seal"' not in text
    start, end = at + len(MARK), at + len(MARK) + DIGITS
    return text[start:end] == digest(text[:start] + OPEN.encode() + text[end:]).encode()


def digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
