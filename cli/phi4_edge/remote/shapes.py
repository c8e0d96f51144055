"""Shapes that the answers of several operations have: holders of a lock, kept plans, differences, sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.core.engines.table import ENGINES
from phi4_edge.remote.schema import (
    LARGEST,
    Check,
    MismatchError,
    choice,
    flag,
    integer,
    listing,
    mapping,
    nullable,
    number,
    raw,
    record,
    text,
    tree,
)

# No engine has 200,000 files; the largest environment of ours has some 12,000.
MOST_FILES = 200_000
PATH = raw(1000)
RELEASE = raw(14, r"r-[0-9a-f]{12}")
IMAGE_ID = raw(71, r"sha256:[0-9a-f]{64}")
SHA256 = raw(64, r"[0-9a-f]{64}")
_WORD = raw(200, r"[ -~]*")


def either(first: Check, second: Check) -> Check:
    """What the first lets through, else the second."""

    def check(value: Any) -> Any:
        try:
            return first(value)
        except MismatchError:
            return second(value)

    return check


def cases(by: str, table: Mapping[str, Check], other: Check) -> Check:
    """An object of which the text under `by` says what it must be; `other` for any text that is not in the table."""

    def check(value: Any) -> Any:
        named = value.get(by) if isinstance(value, dict) else None
        return table.get(named if isinstance(named, str) else "", other)(value)

    return check


def sources(letters: int) -> Check:
    """Raw text per source, or why there is none; `letters`: of the longest text."""
    there = record({"text": raw(letters)}, {"truncated": flag})
    gap = record({"gap": choice("missing", "timeout", "failed", "nonsense", "denied"), "detail": text(400)})

    def one(value: Any) -> Any:
        return gap(value) if isinstance(value, dict) and "gap" in value else there(value)

    return mapping(raw(60, r"[a-z0-9_]+"), one, 200)


_CONTROLLER = record({}, {"boot_id": raw(100), "space": raw(100), "pid": integer(), "start": integer()}, others=True)
HOLDER = record(
    {},
    {
        **{name: text(200) for name in ("id", "user", "host", "operation", "version", "started")},
        "pid": integer(), "age": number(-1e9), "left": number(), "present": flag,
        "state": choice("held", "ending", "stale", "working"), "controller": nullable(_CONTROLLER),
    },
)  # fmt: skip
DIFF = listing(
    record({
        "before_header": text(1000), "after_header": text(1000), "before": text(30_000), "after": text(400_000),
    }),
    100,
)  # fmt: skip
# What nvidia-ctk writes for Docker: a few runtimes and switches.
DOCKER_SETTINGS = mapping(raw(100), tree(2000, 5), 50)
WATCH = record(
    {
        "release": RELEASE, "seconds": number(), "probes": integer(), "failures": integer(), "restarts": integer(),
        "slowest_probe_seconds": number(), "step": raw(40, r"[a-z_]*"),
        "generations": listing(record({"tokens": integer(), "seconds": number()}), 1000),
    }
)  # fmt: skip

_BYTES = integer(0, LARGEST)
_IMAGE = record(
    {
        "repository": raw(400, r"[A-Za-z0-9._/:\[\]-]+"), "tag": raw(200, r"[A-Za-z0-9._-]*"), "architecture": _WORD,
        "key": raw(700, r"[A-Za-z0-9._/:\[\]@+-]+"), "digest": nullable(IMAGE_ID),
    },
    {"reference": raw(800, r"[ -~]*"), "cuda": _WORD, "disk": _BYTES},
    others=True,
)  # fmt: skip
_MODEL = record(
    {"id": _WORD, "served_name": _WORD, "artifact": raw(200, r"[A-Za-z0-9._/+-]*"), "digest": nullable(SHA256)},
    {"size": _BYTES},
    others=True,
)
_RUNTIME = record(
    {},
    {
        "artifact": nullable(raw(200, r"[A-Za-z0-9._/+-]*")), "digest": nullable(SHA256), "python": _WORD,
        "arch": _WORD, "id": nullable(raw(200, r"[A-Za-z0-9._-]*")),
    },
    others=True,
)  # fmt: skip
_MEMORY = record({}, dict.fromkeys(("weights", "ram_need", "vram_need", "held_by_others"), _BYTES), others=True)
_DIRECTORY = raw(100, r"(?:/[A-Za-z0-9_][A-Za-z0-9._-]*){2,}")
_PORT = integer(1, 65535)
_GATEWAY = record(
    {"bind": raw(64, r"[0-9A-Fa-f:.]+"), "port": _PORT, "tls": flag},
    {
        **{"queue": integer(1, 4096), "answer_seconds": integer(1, 90_000), "client_certificates": flag},
        **{"metrics_port": _PORT, "exporter_port": _PORT},
    },
)
# The plan that a release keeps of itself, read back from its host: of this version or an earlier one, whose further
# keys nobody uses any more.
KEPT_PLAN = record(
    {
        "engine": choice(*ENGINES), "service_manager": choice("systemd", "compose"),
        "release": RELEASE, "fingerprint": raw(64, r"[0-9a-f]{12,64}"), "model": _MODEL,
        "knobs": mapping(raw(100), tree(5000, 8), 200),
        "bind": raw(64, r"[0-9A-Fa-f:.%a-z]+"), "port": integer(1, 65535),
    },
    {
        **{name: nullable(_WORD) for name in ("format", "host", "profile", "quantization", "accelerator")},
        "unit": raw(100, r"phi4-edge[a-z-]*\.service"), "content": nullable(_WORD), "kv_cache_type": nullable(_WORD),
        "context_length": nullable(integer()), "parallel": nullable(integer()),
        "runtime": nullable(_RUNTIME), "image": nullable(_IMAGE),
        "webui": nullable(record({"image": _IMAGE, "port": integer(1, 65535), "bind": raw(64, r"[0-9A-Fa-f:.]+")},
                                 others=True)),
        "gateway": nullable(_GATEWAY),
        "steps": listing(raw(40, r"[a-z_]+"), 20), "stability_seconds": number(0.0, 86400.0), "memory": _MEMORY,
        "action": choice("none", "restore"),
        "layout": record({"root": _DIRECTORY, "state": _DIRECTORY}),
    },
    others=True,
)  # fmt: skip
