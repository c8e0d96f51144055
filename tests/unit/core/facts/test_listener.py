"""Who has the engine's port: what a host may say about it, and what follows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi4_edge.core.facts import listener
from phi4_edge.core.facts.listener import Judgement, Refused, Report, Unreadable

ENGINE, MALLORY = 62729, 1002
REPORT: dict[str, Any] = {
    "accepted": ENGINE,
    "listeners": [ENGINE],
    "root": False,
    "holders": [],
    "unit": [ENGINE],
    "socket_unit": False,
    "containers": False,
    "users": {str(ENGINE): "", str(MALLORY): "mallory", "0": "root"},
}


def holder(process: int, name: str, user: int, ours: bool = False) -> dict[str, Any]:
    return {"process": process, "name": name, "user": user, "ours": ours}


def judged(**changes: Any) -> Judgement:
    found = listener.read(json.dumps({**REPORT, **changes}).encode())
    assert isinstance(found, Report)
    return listener.judge(found)


PROXY, SYSTEMD = holder(77, "docker-proxy", 0), holder(1, "systemd", 0)


@pytest.mark.parametrize(
    ("changes", "whose"),
    [
        ({}, "ours"),
        ({"accepted": None}, "ours"),
        # Another user took the connection, or waits for one.
        ({"accepted": MALLORY, "listeners": [MALLORY]}, "stranger"),
        ({"accepted": None, "listeners": [MALLORY]}, "stranger"),
        ({"accepted": None, "listeners": [ENGINE, MALLORY]}, "stranger"),
        ({"accepted": MALLORY, "listeners": [ENGINE]}, "stranger"),
        ({"accepted": MALLORY, "unit": []}, "stranger"),
        # A socket that systemd holds is root's until the engine takes a connection.
        ({"accepted": None, "listeners": [0], "socket_unit": True}, "ours"),
        ({"accepted": ENGINE, "listeners": [0], "socket_unit": True}, "ours"),
        ({"accepted": None, "listeners": [0], "socket_unit": True, "unit": []}, "ours"),
        ({"accepted": 0, "listeners": [0], "socket_unit": True}, "stranger"),
        ({"accepted": MALLORY, "listeners": [0], "socket_unit": True}, "stranger"),
        ({"accepted": None, "listeners": [MALLORY], "socket_unit": True}, "stranger"),
        # Docker's are root's; the unit's own processes are of another user.
        ({"accepted": 0, "listeners": [0], "containers": True}, "ours"),
        ({"accepted": MALLORY, "listeners": [MALLORY], "containers": True}, "stranger"),
        # Root's, where the unit neither has a socket of systemd nor containers.
        ({"accepted": 0, "listeners": [0]}, "stranger"),
        # What root sees there: processes.
        ({"root": True, "holders": [holder(5, "python", ENGINE, True)]}, "ours"),
        ({"root": True, "holders": [holder(5, "python", ENGINE, True), SYSTEMD], "socket_unit": True}, "ours"),
        ({"root": True, "accepted": None, "listeners": [0], "holders": [SYSTEMD], "socket_unit": True}, "ours"),
        ({"root": True, "accepted": None, "listeners": [0], "holders": [SYSTEMD]}, "stranger"),
        ({"root": True, "accepted": 0, "holders": [PROXY], "containers": True}, "ours"),
        ({"root": True, "accepted": 0, "holders": [holder(7, "dockerd", 0)], "containers": True}, "ours"),
        ({"root": True, "accepted": 0, "holders": [PROXY]}, "stranger"),
        ({"root": True, "holders": [holder(7, "docker-proxy", MALLORY)], "containers": True}, "stranger"),
        ({"root": True, "accepted": 0, "holders": [holder(7, "nginx", 0)], "containers": True}, "stranger"),
        ({"root": True, "holders": [holder(5, "python", ENGINE, True), holder(6, "nc", MALLORY)]}, "stranger"),
        # Nothing to go by.
        ({"accepted": None, "listeners": []}, "unknown"),
        ({"unit": None}, "unknown"),
        ({"accepted": 0, "unit": None}, "unknown"),
    ],
)
def test_whose_the_port_is(changes: dict[str, Any], whose: str) -> None:
    found = judged(**changes)
    assert found.whose == whose
    assert bool(found.text) == (whose != "ours")


def test_a_stranger_is_named() -> None:
    assert judged(accepted=MALLORY).text == "a process of user mallory (uid 1002)"
    assert judged(accepted=99).text == "a process of uid 99"
    held = judged(root=True, holders=[holder(929, "python3\x1b[2J", MALLORY)])
    assert held.text == "python3[2J (process 929) of user mallory (uid 1002)"


def test_other_answers_of_the_host() -> None:
    assert listener.read(b'{"refused": "Connection refused"}') == Refused("Connection refused")
    assert listener.read(b'{"unknown": "no /proc\\u001b"}') == Judgement("unknown", "no /proc")
    assert listener.read(b'{"unknown": ""}') == Judgement("unknown", "no reason")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b'{"refused": 1}',
        b'{"refused": "x", "accepted": 1}',
        b"[" * 100_000,
        b'{"unknown": ["x"]}',
        *(
            json.dumps({**REPORT, **wrong}).encode()
            for wrong in (
                {"more": 1},
                {"accepted": "0"},
                {"accepted": -1},
                {"accepted": 2**32},
                {"accepted": True},
                {"accepted": 0.5},
                {"listeners": None},
                {"listeners": [0] * 65},
                {"listeners": ["0"]},
                {"root": 1},
                {"unit": {}},
                {"unit": [None]},
                {"holders": [{"process": 1}]},
                {"holders": [holder(1, "x", 0) | {"more": 1}]},
                {"holders": [holder(1, "x", 0) | {"name": 7}]},
                {"holders": [holder(1, "x", 0)] * 65},
                {"users": []},
                {"users": {"x": "y"}},
                {"users": {"٣": "y"}},
                {"users": {"1": 2}},
                {"users": {str(number): "x" for number in range(200)}},
            )
        ),
        json.dumps({key: value for key, value in REPORT.items() if key != "root"}).encode(),
    ],
)
def test_what_is_none_of_ours_is_refused(text: bytes) -> None:
    with pytest.raises(Unreadable):
        listener.read(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*REPORT, "x"]), inner, max_size=9),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(list(REPORT)), JSON, max_size=4))
def test_whatever_a_host_says_is_a_report_or_none_of_ours(changes: dict[str, Any]) -> None:
    try:
        found = listener.read(json.dumps({**REPORT, **changes}).encode())
    except Unreadable:
        return
    assert isinstance(found, Report)
    assert len(listener.judge(found).text) < 300
