"""Who holds a host: a run's own words, and what is made of a host's."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi4_edge.core.facts import lock
from phi4_edge.errors import FactsError

OWN = {"boot_id": "b", "space": "pid:[1]", "pid": 7, "start": 99}
HERE = {"user": "ada", "host": "desk", "version": "1"}
HOLDER = {
    "present": True, "state": "held", "id": "x", "user": "eve", "host": "other", "pid": 7, "operation": "provision",
    "version": "1", "started": "2026-01-02T03:04:05Z", "age": 2.5, "left": 27.5,
}  # fmt: skip
ESCAPES = "\x1b[2J\x1b]0;pwn\x07<b>{{ lookup('pipe','id') }}{% x %}\u202e\nnext"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
CLAIMS = st.dictionaries(st.sampled_from([*HOLDER, "controller", "ansible_facts", "add_host"]), JSON)


def test_a_run_says_who_it_is() -> None:
    said = lock.wanted({"operation": "provision"}, OWN, HERE, 5.0)
    assert (said["user"], said["host"], said["pid"], said["version"]) == ("ada", "desk", 7, "1")
    assert said["id"].startswith("play-") and said["id"] == lock.wanted({}, OWN, HERE, 9.0)["id"]
    assert said["id"] != lock.wanted({}, {**OWN, "start": 98}, HERE, 9.0)["id"]
    named = lock.wanted({"id": "r", "holder": {"user": "u" * 999, "pid": "12", "other": 1}}, OWN, HERE, 5.0)
    assert (named["id"], named["pid"], named["user"], "other" in named) == ("r", 12, "u" * 200, False)


@given(JSON | CLAIMS)
def test_a_holder_has_these_names_and_types_whatever_a_host_says(said: Any) -> None:
    found = lock.readable(said)
    if not found["present"]:
        assert found == {"present": False}
        return
    assert set(found) == set(HOLDER)
    for name in lock.TEXTS:
        assert len(found[name]) <= lock.MOST_TEXT
        assert not any(unicodedata.category(char).startswith("C") or char in "{}" for char in found[name])
    assert isinstance(found["pid"], int) and 0 <= found["pid"] <= lock.MOST_PID
    assert 0 <= found["age"] < lock.MOST_SECONDS and 0 <= found["left"] < lock.MOST_SECONDS
    assert found["state"] in lock.STATES
    assert len(lock.in_the_way(found)) < 1200
    json.dumps(found, allow_nan=False)


@given(CLAIMS)
def test_whatever_is_claimed_becomes_a_fact_of_known_shape_or_an_error(said: dict[str, Any]) -> None:
    for state in ("held", "taken", said.get("state")):
        answer = {"state": state, "holder": said, "taken_from": said, "waited": said.get("age")}
        try:
            fact = lock.told(answer, {"id": "a", "operation": "o", "folder": "/f", **said_nothing()}, OWN)
        except FactsError:
            assert state not in ("held", "taken")
            continue
        assert set(fact) in (
            {"state", "holder", "waited", "message"},
            {"id", "operation", "folder", "state", "controller", "waited", "message"},
        )
        assert "\n" not in fact["message"] and "{" not in fact["message"]
    assert set(lock.seen({"holder": said, "released": said.get("age")})) == {"holder", "released", "refused", "message"}


def said_nothing() -> dict[str, Any]:
    return {"persist": 0.0}


def test_a_holder_text_cannot_inject() -> None:
    hostile = {**HOLDER, **dict.fromkeys(lock.TEXTS, ESCAPES)}
    message = lock.in_the_way(lock.readable(hostile))
    assert not {"\x1b", "\x07", "\n", "\u202e", "{", "}"} & set(message)
    assert "according to this host" in message


def test_a_host_s_word_is_told_as_its_word() -> None:
    fact = lock.told({"state": "held", "holder": HOLDER, "waited": 1}, {}, OWN)
    assert fact["message"] == (
        "found it locked, according to this host, by eve@other (provision since 2026-01-02T03:04:05Z, pid 7); needed "
        "it unlocked: wait for that run, or --lock-wait SECONDS, or phi4-edge lock release"
    )
    taken = {"state": "taken", "taken_from": HOLDER, "waited": 3.0}
    assert lock.told(taken, {"id": "a", "operation": "o", "folder": "/f"}, OWN)["message"].startswith("took over")
    assert "its lock expires in 28 s" in lock.in_the_way({**HOLDER, "state": "ending"})
    assert "still at work" in lock.in_the_way({**HOLDER, "state": "working"})


@pytest.mark.parametrize("state", [None, "", "free", 1, ["held"], "HELD"])
def test_an_answer_that_says_neither_is_none(state: object) -> None:
    with pytest.raises(FactsError, match=r"found the state .* needed taken or held"):
        lock.told({"state": state, "holder": HOLDER}, {}, OWN)


@pytest.mark.parametrize("state", [None, "nonsense", 5, "taken"])
def test_a_state_that_nobody_knows_keeps_others_away(state: object) -> None:
    assert lock.readable({**HOLDER, "state": state})["state"] == "held"


@pytest.mark.parametrize(
    ("theirs", "now", "expected"),
    [
        (OWN, 99, False),
        (OWN, 0, True),
        (OWN, 100, True),
        ({**OWN, "boot_id": "c"}, 0, False),
        ({**OWN, "space": "pid:[2]"}, 0, False),
        ({**OWN, "pid": True}, 0, False),
        ({**OWN, "pid": -1}, 0, False),
        ({**OWN, "pid": 1 << 40}, 0, False),
        ({**OWN, "start": 0}, 0, False),
        ({**OWN, "start": "99"}, 0, False),
        ("nonsense", 0, False),
        (None, 0, False),
    ],
)
def test_whose_controller_is_known_to_be_dead(theirs: Any, now: int, expected: bool) -> None:
    holder: Mapping[str, Any] = {"controller": theirs}
    assert lock.gone(holder, OWN, lambda pid: now) is expected


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("-C -o ControlMaster=auto -o ControlPersist=60s", 60),
        ("-o ControlMaster=auto -o ControlPersist=2h -o Compression=no", 7200),
        ("-o ControlMaster=auto -o ControlPersist=1h30m", 5400),
        ("-o 'ControlPersist 90' -o ControlMaster=auto", 90),
        ("-o controlpersist=10m -o ControlPersist=1s", 600),
        ("-o ControlPersist=yes", lock.MOST_SECONDS),
        ("-o ControlPersist=0", lock.MOST_SECONDS),
        ("-o ControlPersist=no", 0),
        ("-o ControlPersist=60s -o ControlPath=none", 0),
        ("-o ControlMaster=no -o ControlPersist=60s", 0),
        ("-o ServerAliveInterval=5", 0),
        ("", 0),
    ],
)
def test_how_long_a_connection_is_kept(words: str, seconds: float) -> None:
    assert lock.persistence(words) == seconds
