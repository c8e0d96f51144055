"""Who has an engine's port on a host: the unit of the release, or somebody else. What the host said, read and judged.

Pure. The text comes from ssh/relay.py there. It can be believed as far as the host itself; what it shows is an
unprivileged user of the host who listens in the engine's place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from phi4_edge.core.layout import UNIT
from phi4_edge.core.text import clean

# Processes that publish a container's port; without the first one Docker holds it itself.
PUBLISHERS = frozenset({"docker-proxy", "dockerd"})
MOST = 64  # entries of each list
LARGEST_ID = 2**32 - 1  # of users and processes
_REPORT = frozenset({"accepted", "listeners", "root", "holders", "unit", "socket_unit", "containers", "users"})
_HOLDER = frozenset({"process", "name", "user", "ours"})

Whose = Literal["ours", "stranger", "unknown"]


class Unreadable(ValueError):  # noqa: N818  (an answer, not an error of ours)
    """The text is none of ours."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing could be connected to, in the host's words. `guarded`: the port is there, and not for this user."""

    reason: str
    guarded: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whose the port is. `text`: who has it instead, or why that is not known; "" when it is ours."""

    whose: Whose
    text: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has the socket open; `ours`: it belongs to the unit."""

    process: int
    name: str
    user: int
    ours: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What the host saw. `accepted`: user of the process that took our connection, None while nobody has.

    `listeners`: users of the sockets that listen. `holders` are complete where `root` is true. `unit`: users of the
    unit's processes, none when it does not run, None where that cannot be seen.
    """

    accepted: int | None
    listeners: tuple[int, ...]
    root: bool
    holders: tuple[Holder, ...]
    unit: frozenset[int] | None
    socket_unit: bool
    containers: bool
    users: Mapping[int, str]


def read(text: bytes) -> Report | Refused | Judgement:
    """The report; Refused without a connection; an unknown Judgement where the host could not look.

    Raises Unreadable for everything else.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable("no JSON") from error
    if not isinstance(found, dict):
        raise Unreadable("no object")
    for only in ("refused", "guarded", "unknown"):
        if set(found) == {only}:
            if not isinstance(found[only], str):
                raise Unreadable(f"{only} is no text")
            said = clean(found[only], 200) or "no reason"
            return Judgement("unknown", said) if only == "unknown" else Refused(said, only == "guarded")
    if set(found) != _REPORT:
        raise Unreadable("other fields than a report has")
    return _report(found)


def _report(found: Mapping[str, Any]) -> Report:
    unit = found["unit"]
    return Report(
        accepted=None if found["accepted"] is None else _number(found["accepted"]),
        listeners=tuple(_number(user) for user in _list(found["listeners"])),
        root=_flag(found["root"]),
        holders=tuple(_holder(item) for item in _list(found["holders"])),
        unit=None if unit is None else frozenset(_number(user) for user in _list(unit)),
        socket_unit=_flag(found["socket_unit"]),
        containers=_flag(found["containers"]),
        users=_users(found["users"]),
    )


def _list(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > MOST:
        raise Unreadable("not a list, or one that is too long")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_ID:
        raise Unreadable("not a number, or one that is too large")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unreadable("neither true nor false")
    return value


def _holder(value: object) -> Holder:
    if not isinstance(value, dict) or set(value) != _HOLDER or not isinstance(value["name"], str):
        raise Unreadable("not a process")
    name = clean(value["name"], 40)
    return Holder(_number(value["process"]), name, _number(value["user"]), _flag(value["ours"]))


def _users(value: object) -> dict[int, str]:
    if not isinstance(value, dict) or len(value) > 3 * MOST:
        raise Unreadable("not a list of users, or too many")
    found = {}
    for key, name in value.items():
        if not (isinstance(name, str) and key.isascii() and key.isdecimal() and len(key) <= 10):
            raise Unreadable("not a user")
        found[int(key)] = clean(name, 40)
    return found


def judge(seen: Report) -> Judgement:
    """Whose the port is, by the most exact of what was seen: processes, the user that answers, the users that wait."""
    if seen.holders:
        return _by_holders(seen)
    if seen.accepted is not None:
        return _by_user(seen, seen.accepted, waiting=False)
    if seen.listeners:
        worst = [_by_user(seen, user, waiting=True) for user in seen.listeners]
        return next((each for each in worst if each.whose != "ours"), worst[0])
    return Judgement("unknown", "the host shows no socket that listens there")


def _by_holders(seen: Report) -> Judgement:
    """Systemd itself holds a socket that it hands to the unit. Nobody else may, beside those who may."""
    for each in seen.holders:
        handed = each.process == 1 and seen.socket_unit
        published = seen.containers and each.user == 0 and each.name in PUBLISHERS
        if not (each.ours or handed or published):
            return Judgement("stranger", f"{each.name} (process {each.process}) of {_named(seen, each.user)}")
    return Judgement("ours")


def _by_user(seen: Report, user: int, waiting: bool) -> Judgement:
    """The unit's user is a dynamic one, which nobody else can be. Root's are Docker's sockets, and those of systemd."""
    if user in (seen.unit or ()) and user:
        return Judgement("ours")
    if user == 0 and (seen.containers or (waiting and seen.socket_unit)):
        return Judgement("ours")
    if seen.unit is None:
        return Judgement("unknown", f"{_named(seen, user)} has it, and the processes of {UNIT} are hidden there")
    return Judgement("stranger", f"a process of {_named(seen, user)}")


def _named(seen: Report, user: int) -> str:
    name = seen.users.get(user, "")
    return f"user {name} (uid {user})" if name else f"uid {user}"
