"""How llguidance is used, both where schemas are checked and where they are followed."""

from __future__ import annotations

from typing import Any

_LEXER_STATES = 20_000
"""Of up to 2 kB each, for hostile patterns: a twelfth of llguidance's default. Usual schemas have hundreds."""


def limits() -> Any:
    """What a grammar may take. Without its states in error messages, and without work ahead that knows no limit."""
    from llguidance import LLParserLimits

    return LLParserLimits(max_lexer_states=_LEXER_STATES, precompute_large_lexemes=False, verbose_errors=False)


def sentence(text: str) -> str:
    """What llguidance says in one line: the first, and the end of one that only announces; the rest are its states."""
    first, *others = text.strip().splitlines() or ["the grammar cannot be used"]
    last = next((line for line in reversed(others) if line.startswith("error: ")), "") if first.endswith(":") else ""
    return f"{first} {last.removeprefix('error: ')}".strip()[:300]
