"""The bytes of each token, from the tokenizer's own file: the runtime decodes to text, and half a character is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


class Spelling:
    """What each token stands for. All in one piece: 200,064 bytes objects would take ten times the memory."""

    def __init__(self, path: Path) -> None:
        document = json.loads(path.read_text(encoding="utf-8"))
        letters = _byte_of_letter()
        words = {number: _spelt(word, letters) for word, number in document["model"]["vocab"].items()}
        words |= {one["id"]: str(one["content"]).encode() for one in document.get("added_tokens", [])}
        in_order = [words.get(number, b"") for number in range(max(words, default=-1) + 1)]
        self._ends = np.cumsum([0, *map(len, in_order)], dtype=np.int64)
        self._all = b"".join(in_order)

    def bytes_of(self, token: int) -> bytes:
        """The token's bytes; none for a number without a meaning, which the model has at the end of its vocabulary."""
        if not 0 <= token < len(self._ends) - 1:
            return b""
        return self._all[int(self._ends[token]) : int(self._ends[token + 1])]


def _spelt(word: str, letters: dict[str, int]) -> bytes:
    try:
        return bytes(letters[one] for one in word)
    except KeyError:
        return word.encode()  # a word that was added as text


def _byte_of_letter() -> dict[str, int]:
    """Byte-level BPE writes each byte as a letter: printable ones of Latin-1 as they are, the others from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + at): byte for at, byte in enumerate(others)}
