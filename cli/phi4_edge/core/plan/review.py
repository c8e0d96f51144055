"""Whether a plan that a person has read is the plan that is carried out: field by field, not by a name that it bears.

The file with the reviewed plan may come from anybody. Each plan in it has a digest of its content, which finds what was
changed by mistake; who lies on purpose makes that anew, so all that was shown is held against the plan as it is now.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from phi4_edge.core.plan import reasons
from phi4_edge.core.plan.naming import awaited, fingerprint_of, release_of
from phi4_edge.core.text import canonical, clean

DIGEST = "digest"
# Names of what goes with a plan and is compared for itself.
BESIDE = frozenset({DIGEST, "facts_digest", "inventory_digest"})
# What tells of memory, its speed, disk and listeners as they were, which move while nobody does anything, and changes
# nothing.
_MOVING = frozenset({"blockers", "candidates", "forecast", "rejected", "missing", "nearest_profile"})
# Compared where the plan is told to be another one, in its parts.
_TOLD_ELSEWHERE = frozenset({"action", "steps", "fingerprint", "release"})
# Changes that name a digest, which may not be known when a plan is reviewed: the digest itself is compared.
_OF_DIGESTS = frozenset({"release", "model digest", "model store", "engine files", "image digest"})
_SIZE = re.compile(r"[0-9]+(?:\.[0-9]+)? (?:GB|GiB|tokens/s)")
_LONGEST = 160
_WORDS = ("reasons", "warnings", "changes")


def digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all of a document but its own digest."""
    rest = {name: value for name, value in document.items() if name != DIGEST}
    return hashlib.sha256(canonical(rest).encode()).hexdigest()


def tampered(plan: Mapping[str, Any]) -> str:
    """Return what the plan says of itself and is not so, or ""; one of a file, with its digest."""
    if plan[DIGEST] != digest(plan):
        return "its content is not what its digest says"
    made = fingerprint_of(plan) if plan["fits"] else None
    if plan["fingerprint"] != made or plan["release"] != release_of(made):
        return "what it carries out is not what its fingerprint says"
    if list(plan["awaits"]) != (list(awaited(plan)) if plan["fits"] else []):
        return "what it awaits is not what its digests say"
    return ""


def as_reviewed(reviewed: Mapping[str, Any], now: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the plan as it is now without what nobody knew yet when it was reviewed: what it was waiting for then.

    A run that was cut short has made its files, and the same file is applied again.
    """
    if not reviewed["awaits"] or not now["fits"]:
        return now
    found = {**now, **{name: _unknown(reviewed[name], now[name]) for name in ("model", "runtime", "image", "webui")}}
    if "store" in now["knobs"] and found["model"]["digest"] is None:
        found["knobs"] = {**now["knobs"], "store": None}
    found["fingerprint"] = fingerprint_of(found)
    return {**found, "release": release_of(found["fingerprint"]), "awaits": list(awaited(found))}


def _unknown(reviewed: Any, now: Any) -> Any:
    """Return a part of a plan, without its digest and what is called after that where the reviewed one had none."""
    if not isinstance(reviewed, Mapping) or not isinstance(now, Mapping):
        return now
    if "image" in now:  # the chat page's
        return {**now, "image": _unknown(reviewed["image"], now["image"])}
    without = {name: None for name in ("digest", "id") if name in now and reviewed[name] is None}
    if "reference" in now and "digest" in without:
        without["reference"] = now["reference"].partition("@")[0]
    return {**now, **without}


def differences(reviewed: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was shown and is not so, a field each, with both values where those are short."""
    for name in now:
        if name in BESIDE | _MOVING | _TOLD_ELSEWHERE or (name == "switch" and now[name]["mode"] != "down"):
            continue
        settled = _SETTLED.get(name, _as_it_is)
        before, after = settled(reviewed[name]), settled(now[name])
        if name == "changes" and reviewed["awaits"]:
            before, after = _known_then(before, after)
        if before != after:
            # Words are compared without their sizes, and told with them.
            yield from _inside(name, before, after) if name not in _WORDS else _inside(name, reviewed[name], now[name])


def _inside(name: str, before: Any, after: Any) -> Iterator[str]:
    """Yield the field, or the fields within it that differ."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            if before.get(key) != after.get(key):
                yield from _inside(f"{name}.{clean(str(key), 60)}", before.get(key), after.get(key))
    else:
        yield f"{name} {_short(after)}, was {_short(before)}"


def _short(value: Any) -> str:
    return clean(value if isinstance(value, str) else canonical(value), _LONGEST) or "nothing"


def _as_it_is(value: Any) -> Any:
    return value


def _without(*names: str) -> Callable[[Any], Any]:
    def settled(value: Any) -> Any:
        return {key: each for key, each in value.items() if key not in names} if isinstance(value, Mapping) else value

    return settled


def _sentences(value: Any) -> Any:
    """Sizes are rounded for people, and may be rounded otherwise after a reboot; a sampled speed is never the same."""
    return [_SIZE.sub("# GB", text) for text in value if text not in reasons.PASSING] if _texts(value) else value


def _interrupts(value: Any) -> Any:
    """Whether the service goes down for long. That it need not any more, as memory is free by now, harms nobody."""
    if not isinstance(value, Mapping) or "mode" not in value:
        return value
    return "that goes down" if value["mode"] == "down" else "that goes on meanwhile"


def _subjects(value: Any) -> Any:
    """What changes to what; how it is before may be told otherwise by a service that is on its way down or up."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, Mapping) for each in value):
        return value
    return [[each.get("what"), each.get("after")] for each in value]


def _known_then(before: Any, after: Any) -> tuple[Any, Any]:
    """Return both lists of subjects without those of digests that nobody knew when the plan was reviewed."""
    if not isinstance(before, list) or not isinstance(after, list):
        return before, after
    known = [each for each in before if each[0] not in _OF_DIGESTS or each[1] is not None]
    return known, [each for each in after if each[0] not in _OF_DIGESTS or each in known]


def _texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)


_SETTLED: Mapping[str, Callable[[Any], Any]] = {
    "memory": _without("available", "held_by_others"),
    "disk": _without("available", "free", "to_write"),
    "warnings": _sentences,
    "reasons": _sentences,
    "switch": _interrupts,
    "changes": _subjects,
}
