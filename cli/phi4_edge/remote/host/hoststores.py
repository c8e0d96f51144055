"""Ollama's stores on this host, and the pushed models that only they still hold.

Sent in front of the script that uses it; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import os
from typing import Tuple

from hostlib import RECORD_FORMAT, Json, damaged, lines_of, read_json


def place(model: str) -> str:
    """Directory of the stores that belong to the directory of a pushed model."""
    return os.path.join(os.path.dirname(os.path.dirname(model)), "stores")


def holder(stores: str, sha256: str) -> Tuple[str, Json]:
    """Path and record of what a whole store holds of the pushed file with this hash; ("", {}) where none does."""
    names = sorted(os.listdir(stores)) if os.path.isdir(stores) and not os.path.islink(stores) else []
    for name in names:
        root, suffix = os.path.splitext(os.path.join(stores, name))
        document = read_json(root + suffix) if suffix == ".json" else None
        if not isinstance(document, dict) or document.get("format") != RECORD_FORMAT:
            continue
        weights, lines = document.get("weights"), lines_of(document)
        if document.get("made_from") != sha256 or not isinstance(weights, str) or weights not in lines:
            continue
        if not damaged(root, lines):
            return os.path.join(root, weights), lines[weights]
    return "", {}
