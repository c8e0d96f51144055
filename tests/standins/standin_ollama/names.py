"""Model names, digests and durations, as Ollama reads them (types/model/name.go, manifest/paths.go, api/types.go)."""

from __future__ import annotations

import re
from typing import NamedTuple

HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"
# An hour is what Go's time.ParseDuration would make of these units.
UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
FOREVER = 1e12


class Name(NamedTuple):
    """The four parts of a model's name."""

    host: str
    namespace: str
    model: str
    tag: str

    def full(self) -> str:
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    def short(self) -> str:
        """The name as it is listed: default parts are left out, the tag never is."""
        if self.host.lower() != HOST:
            return self.full()
        prefix = "" if self.namespace.lower() == NAMESPACE else f"{self.namespace}/"
        return f"{prefix}{self.model}:{self.tag}"

    def valid(self) -> bool:
        """True when every part is made of the characters, and is of the length, that Ollama allows."""
        rules = (("[A-Za-z0-9_.:-]", 350), ("[A-Za-z0-9_-]", 80), ("[A-Za-z0-9_.-]", 80), ("[A-Za-z0-9_.-]", 80))
        return all(
            0 < len(part) <= most and re.fullmatch(f"[A-Za-z0-9_]{allowed}*", part) is not None
            for part, (allowed, most) in zip(self, rules)  # noqa: B905 - Python 3.9
        )


def parse(text: str) -> Name:
    """The name in `text` with the default parts filled in; a part that was promised by a separator is missing."""
    rest, tag = text, TAG
    if rest.rfind(":") > rest.rfind("/"):
        rest, tag = rest.rsplit(":", 1)
        tag = tag or "!MISSING!"
    parts = rest.split("/")
    model = parts.pop() or ("!MISSING!" if parts else "")
    namespace = (parts.pop() or "!MISSING!") if parts else NAMESPACE
    host = "/".join(parts).split("://")[-1] if parts else HOST
    return Name(host, namespace, model, tag)


def digest(text: str) -> str:
    """The file name of the blob `text`. Raises ValueError where it is no SHA-256 digest."""
    if not re.fullmatch("sha256[:-][0-9a-fA-F]{64}", text):
        raise ValueError("invalid digest format")
    return text.replace(":", "-")


def seconds(value: object) -> float:
    """A keep_alive in seconds: a number of seconds or a Go duration; negative is for ever. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"Unsupported type: '{type(value).__name__}'")
    if isinstance(value, str):
        number = re.fullmatch(r"-?\d+", value)
        amount = float(value) if number else duration(value)
    else:
        amount = float(value)
    return FOREVER if amount < 0 else amount


def duration(text: str) -> float:
    """Seconds in a Go duration such as 5m or 1h30m. Raises ValueError in Go's words."""
    found = re.fullmatch(r"([+-]?)((?:\d+(?:\.\d*)?(?:ns|us|ms|s|m|h))+)", text)
    if not found:
        raise ValueError(f'time: invalid duration "{text}"')
    total = sum(float(n) * UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d*)?)(ns|us|ms|s|m|h)", found[2]))
    return -total if found[1] == "-" else total
