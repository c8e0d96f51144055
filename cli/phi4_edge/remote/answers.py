"""The closed schema of every operation's answer, how large it may be, and how long its exchange may take.

An operation is (role, script, what it does). What is not written down here is no answer of ours: the host fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phi4_edge.remote.framing import MAX_DOCUMENT
from phi4_edge.remote.schema import (
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
)
from phi4_edge.remote.shapes import (
    DIFF,
    DOCKER_SETTINGS,
    HOLDER,
    IMAGE_ID,
    KEPT_PLAN,
    MOST_FILES,
    PATH,
    RELEASE,
    WATCH,
    cases,
    either,
    sources,
)

Key = tuple[str, str, str]
MINUTE, HOUR = 60.0, 3600.0
SMALL, LARGE = 256 * 1024, MAX_DOCUMENT


def memory(size: int) -> int:
    """Most bytes that a process may allocate to read an answer of `size` bytes: several hosts may flood at once.

    The connection plugin holds all output and copies it a few times, and many short texts of an honest answer take
    8 times their size as Python's objects.
    """
    return 20 * 1024 * 1024 + 11 * size


@dataclass(frozen=True, slots=True)
class Operation:
    """What an operation answers, what it may say beside the reason when it fails, seconds for the exchange, and most
    bytes of the answer as JSON.

    The seconds are for a board with an SD card, and the end of a host that never answers; most tasks end sooner, by
    Ansible's own timeout. LARGE is for lists of files, differences and the raw sources of facts.
    """

    answer: Check
    seconds: float = 10 * MINUTE
    details: Mapping[str, Check] = field(default_factory=dict)
    size: int = SMALL

    @property
    def memory(self) -> int:
        """Most bytes that a process may allocate to read the answer."""
        return memory(self.size)


_CHANGES: dict[str, Check] = {"changed": flag, "changes": listing(text(1000), 1000)}
_CHANGED = record(_CHANGES)
_DAMAGED = listing(raw(1000), MOST_FILES)
_RAN: dict[str, Check] = {name: text(200) for name in ("compose", "engine", "runc", "storage")}
_GENERATION = record({"tokens": integer(), "seconds": number()})
_TAKEN = {"state": choice("taken"), "waited": number(), "waited_for": nullable(HOLDER), "taken_from": nullable(HOLDER)}
_HELD = {"state": choice("held"), "waited": number(), "holder": HOLDER}
_NO_DOCKER = {"docker": choice(""), "why": text(400), "images": record({})}
_DOCKER = {
    "docker": raw(100, r"[ -~]+"),
    "images": mapping(choice("engine", "webui"), record({"id": either(choice(""), IMAGE_ID), "named": flag}), 2),
    "shared": mapping(raw(500), integer(0, 1000), 10),
    "docker_root": raw(1000),
    "docker_free": integer(),
    "staging_free": integer(),
    "same_disk": flag,
}
# A gateway trusts at most 16 keys.
_TRUSTED: dict[str, Check] = {"changed": flag, "trusted": listing(raw(16, r"[0-9A-F]{16}"), 16)}
_STEP: dict[str, Check] = {"step": raw(40, r"[a-z_]+"), "journal": listing(text(400), 100)}
_VERSIONS = mapping(raw(200), raw(200), 500)
_LOGIN = record(
    {
        "format": choice("phi4-edge/doctor-login/1"), "user": raw(300), "shell": raw(1000), "first": number(),
        "last": number(), "start_files": listing(raw(2000), 50),
    },
    {
        "with_shell": listing(number(), 50), "without": listing(number(), 50), "output": raw(8000),
        "status": integer(-1000, 1000), "unmeasured": text(1000),
    },
)  # fmt: skip
_ROOT = record(
    {"format": choice("phi4-edge/doctor-root/1"), "sources": sources(64 * 1024), "first": number(), "last": number()}
)
# Of an exchange each piece has its time; what the port sent is for the reader of HTTP to judge.
_EXCHANGED = record(
    {
        "listener": raw(64 * 1024), "sent": flag, "end": choice("", "complete", "closed", "late", "large", "broken"),
        "times": listing(number(), 20_000), "pieces": listing(raw(90_000, r"[A-Za-z0-9+/]+={0,2}"), 20_000),
    }
)  # fmt: skip

OPERATIONS: Mapping[Key, Operation] = {
    ("probe", "probe", "probe"): Operation(
        record({"format": choice("phi4-edge/facts/1"), "sources": sources(1 << 20)}), 15 * MINUTE, size=LARGE
    ),
    ("probe", "bandwidth", "sample"): Operation(
        record({"one": integer(), "all": integer(), "threads": integer(0, 1024), "why": text(300)}), 20.0
    ),
    ("bench", "bench", "usage"): Operation(
        record({"counted": flag, "memory": integer(-1), "vram": integer(-1), "cpu": number(-1)}), HOUR
    ),
    ("bench", "bench", "keep"): Operation(record({"changed": flag}), 2 * MINUTE),
    ("doctor", "doctor", "doctor"): Operation(_ROOT, 2 * MINUTE, size=LARGE),
    ("doctor", "login", "login"): Operation(_LOGIN, 5 * MINUTE),
    ("lock", "lock", "take"): Operation(cases("state", {"taken": record(_TAKEN)}, record(_HELD)), 2 * MINUTE),
    ("lock", "lock", "release"): Operation(record({"released": flag}), 10.0),
    ("lock", "lock", "show"): Operation(record({"holder": HOLDER}), MINUTE),
    ("lock", "lock", "clear"): Operation(record({"released": flag, "holder": HOLDER, "working": flag}), MINUTE),
    ("artifact", "push", "survey"): Operation(
        record(
            {
                "complete": flag,
                "have": mapping(raw(1000), integer(), MOST_FILES),
                "missing": integer(),
                "free": integer(),
            }
        ),
        HOUR,
        size=LARGE,
    ),
    ("artifact", "push", "store"): Operation(record({}, {"damaged": PATH}), HOUR, {"disk_full": flag}),
    ("artifact", "push", "finish"): Operation(record({"bad": _DAMAGED}, {"changed": flag}), HOUR, size=LARGE),
    ("artifact", "fetch", "fetch"): Operation(
        record({"done": flag, "received": integer(), "why": text(300)}), HOUR, {"disk_full": flag}
    ),
    ("artifact", "image", "survey"): Operation(cases("docker", {"": record(_NO_DOCKER)}, record(_DOCKER)), HOUR),
    ("artifact", "image", "load"): Operation(
        record({"changed": flag, "id": IMAGE_ID}), HOUR, {"disk_full": flag, "refused": flag}
    ),
    ("artifact", "image", "tag"): Operation(record({"changed": flag, "id": IMAGE_ID})),
    ("artifact", "image", "pull"): Operation(record({"changed": flag, "id": IMAGE_ID}), HOUR),
    ("docker", "packages", "inspect"): Operation(
        record(
            {
                "os": record({"id": raw(60), "version_id": raw(60)}),
                "architecture": raw(40),
                "kernel": text(200),
                "packages": _VERSIONS,
                "dpkg": text(400),
                "snap": flag,
                "engine": raw(100),
                "compose": raw(100),
                "runc": raw(100),
            }
        ),
    ),
    ("docker", "packages", "repository"): Operation(_CHANGED),
    ("docker", "packages", "offered"): Operation(
        record(
            {
                "offered": mapping(raw(200), listing(raw(200, r"[A-Za-z0-9.+~:-]+"), 2000), 50),
                "said": text(4000),
                "changed": flag,
            }
        ),
        HOUR,
        size=LARGE,
    ),
    ("docker", "packages", "install"): Operation(record({**_CHANGES, "installed": _VERSIONS}), HOUR),
    ("docker", "daemon", "merge"): Operation(
        record({**_CHANGES, "pending": flag, "survive": flag, "diff": DIFF, "running": listing(text(300), 50)}),
        size=LARGE,
    ),
    ("docker", "daemon", "restore"): Operation(
        record({**_CHANGES, "reload": flag, "owners": listing(choice("docker", "nvidia_runtime"), 2)})
    ),
    ("docker", "engine", "run"): Operation(record(_CHANGES, _RAN), 20 * MINUTE),
    ("docker", "engine", "reload"): Operation(
        record({"changed": flag, "restarted": flag, "running": integer()}), 20 * MINUTE
    ),
    ("nvidia_runtime", "nvidia", "inspect"): Operation(
        record({"toolkit": raw(100), "architecture": raw(40), "nvidia_docker2": flag})
    ),
    ("nvidia_runtime", "nvidia", "settings"): Operation(record({"settings": DOCKER_SETTINGS, "changed": flag})),
    ("nvidia_runtime", "nvidia", "cdi"): Operation(record(_CHANGES, {"devices": listing(raw(300), 500)})),
    ("nvidia_runtime", "nvidia", "nouveau"): Operation(_CHANGED, 20 * MINUTE),
    ("nvidia_runtime", "nvidia", "remove"): Operation(_CHANGED),
    ("onnx", "engine", "inspect"): Operation(record({"complete": flag, "damaged": _DAMAGED}), HOUR, size=LARGE),
    ("onnx", "engine", "build"): Operation(record({"changed": flag, "genai": text(200)}), HOUR),
    ("onnx", "engine", "repack"): Operation(record({"changed": flag, "bytes": integer(), "reason": text(300)}), HOUR),
    ("ollama", "create", "inspect"): Operation(
        record(
            {"complete": flag, "damaged": _DAMAGED, "models": mapping(raw(300), raw(200), 200), "surplus": integer()}
        ),
        HOUR,
        size=LARGE,
    ),
    ("ollama", "create", "create"): Operation(
        record(
            {
                "changed": flag,
                "models": mapping(raw(300), raw(200), 200),
                "said": listing(text(1000), 1000),
                "freed": integer(),
            }
        ),
        2 * HOUR,
    ),
    ("vllm", "checkpoint", "check"): Operation(record({"changed": flag}, {"method": text(60), "msg": text(200)})),
    ("trust", "trust", "trust"): Operation(record(_TRUSTED)),
    ("trust", "trust", "present"): Operation(
        record(_TRUSTED, {"counter": integer(), "site": raw(63, r"[a-z0-9][a-z0-9._-]*")})
    ),
    ("webui", "webui", "prepare"): Operation(record({"changed": flag, "settled": flag})),
    ("webui", "webui", "administrator"): Operation(record({"changed": flag, "made": flag}), 20 * MINUTE),
    ("gateway", "gateway", "inspect"): Operation(record({"installed": raw(100), "nft": flag, "changed": flag})),
    ("gateway", "gateway", "quiet"): Operation(record({"changed": flag})),
    ("gateway", "gateway", "bring"): Operation(_CHANGED),
    ("balancer", "balancer", "inspect"): Operation(
        record(
            {
                "installed": raw(100),
                "key": raw(64, r"[0-9a-f]*"),
                "certificate": raw(64, r"[0-9a-f]*"),
                "note": raw(64 * 1024),
                "changed": flag,
            }
        ),
        size=LARGE,
    ),
    ("balancer", "balancer", "bring"): Operation(_CHANGED),
    ("balancer", "balancer", "drain"): Operation(record({"changed": flag, "running": integer()})),
    ("balancer", "balancer", "ready"): Operation(record({"changed": flag})),
    ("balancer", "balancer", "remove"): Operation(_CHANGED),
    ("health", "gate", "gate"): Operation(
        record({"ready_seconds": number(), "generation": _GENERATION, "proof": raw(32, r"[0-9a-f]*")}), HOUR, _STEP
    ),
    ("health", "watch", "watch"): Operation(record({"watch": WATCH}), HOUR, {**_STEP, "watch": WATCH}),
    ("health", "exchange", "exchange"): Operation(_EXCHANGED, HOUR, size=LARGE),
    ("receipt", "receipt", "commit"): Operation(
        record({"changed": flag}, {"file_count": integer(), "pruned": listing(text(1000), MOST_FILES)}),
        HOUR,
        size=LARGE,
    ),
    ("receipt", "receipt", "sweep"): Operation(
        record({"changed": flag, "pruned": listing(text(1000), MOST_FILES)}), HOUR, size=LARGE
    ),
    ("service", "release", "stage"): Operation(record({**_CHANGES, "diff": DIFF, "reread": flag}), size=LARGE),
    ("service", "release", "inherit"): Operation(
        record({"complete": flag, "changed": flag, "images": mapping(choice("engine", "webui"), IMAGE_ID, 2)})
    ),
    ("service", "release", "verify"): Operation(record({"verified": flag})),
    ("service", "release", "rehearse"): Operation(record({"changed": flag})),
    ("service", "release", "rest"): Operation(record({"changed": flag, "ended": flag})),
    ("service", "release", "switch"): Operation(record({**_CHANGES, "restarted": flag})),
    ("service", "release", "committed"): Operation(record({"plan": KEPT_PLAN})),
    ("service", "release", "previous"): Operation(
        record({"plan": KEPT_PLAN, "images": mapping(choice("engine", "webui"), IMAGE_ID, 2)})
    ),
    ("service", "release", "rollback"): Operation(
        record(
            {"changed": flag, "to": either(choice(""), RELEASE), "restarted": flag, "kept": flag},
            {"plan": nullable(KEPT_PLAN)},
        )
    ),
    ("service", "release", "remove"): Operation(record({**_CHANGES, "docker": flag})),
    ("service", "release", "erase"): Operation(_CHANGED, 20 * MINUTE),
}
_FAILED: Mapping[str, Check] = {"error": text(12000, 1)}


def read(key: Key, document: Mapping[str, Any]) -> dict[str, Any]:
    """The answer, held to its schema; one of a failure has `error`. Raises MismatchError for any other."""
    operation = OPERATIONS[key]
    if "error" not in document:
        answer: dict[str, Any] = operation.answer(document)
        return answer
    timed_out = record({"period": integer(0, 10**8)})
    failed: dict[str, Any] = record(_FAILED, {**operation.details, "timedout": timed_out})(document)
    return failed


__all__ = ["OPERATIONS", "Key", "MismatchError", "Operation", "memory", "read"]
