"""One exchange as an action plugin has it: deadline, bound in memory, closed answers, results of Ansible."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from phi4_edge.errors import FactsError
from phi4_edge.remote import action, answers
from phi4_edge.remote.action import HostRefusedError

RELEASE = ("lock", "lock", "release")
VARIABLES = {"inventory_hostname": "gw1", "ansible_python_interpreter": "/usr/bin/python3"}


def plugin(document: Any = None, does: Callable[[], None] = lambda: None) -> Any:
    """A plugin whose host answers `document`, after it did something."""

    def execute(line: str, in_data: bytes = b"", sudoable: bool = True) -> Mapping[str, Any]:
        does()
        found = re.search(r"\b([0-9a-f]{16})\b", line)
        nonce = found[1] if found else ""
        frame = base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()
        return {"rc": 0, "stdout": f"{nonce}:BEGIN\n{frame}\n{nonce}:END\n", "stderr": ""}

    templar = SimpleNamespace(available_variables={}, template=lambda value: value)
    return SimpleNamespace(_templar=templar, _low_level_execute_command=execute)


def ask(plugin: Any, seconds: float = 5.0) -> dict[str, Any]:
    return action.on_host(plugin, VARIABLES, RELEASE, {}, seconds=seconds)


@pytest.fixture(autouse=True)
def no_timer_is_left() -> Iterator[None]:
    yield
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_an_answer_comes_as_its_schema_lets_it_through() -> None:
    assert ask(plugin({"released": True})) == {"released": True}


@pytest.mark.parametrize(
    "document", [{"released": True, "add_host": {}}, {"released": 1}, {}, {"ansible_facts": {}}, {"error": ["x"]}]
)
def test_an_answer_that_is_none_of_ours_names_the_host_and_what_was_asked(document: dict[str, Any]) -> None:
    with pytest.raises(FactsError, match=r"^found an invalid answer from gw1 \(lock release: .*needed"):
        ask(plugin(document))


def test_what_the_host_refuses_keeps_its_details_away_from_ansible() -> None:
    with pytest.raises(HostRefusedError, match="found x, needed y") as raised:
        ask(plugin({"error": "found x, needed y", "timedout": {"period": 3}}))
    result = action.failure(raised.value)
    assert result == {
        "changed": False, "failed": True, "msg": "found x, needed y", "answer": {"timedout": {"period": 3}},
        "timedout": {"period": 3},
    }  # fmt: skip


def test_a_result_has_no_key_that_a_host_named() -> None:
    answer = {"changed": True, "diff": [{"before": "a", "after": "b"}], "add_host": 1, "ansible_facts": 2}
    assert action.result(answer) == {
        "changed": True, "diff": answer["diff"], "answer": {"add_host": 1, "ansible_facts": 2},
    }  # fmt: skip


def test_one_deadline_ends_the_exchange_and_what_it_started() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def drip() -> None:
        started.append(subprocess.Popen(["sleep", "60"]))
        while True:
            time.sleep(0.01)

    before = subprocess.Popen(["sleep", "60"])
    begun = time.monotonic()
    with pytest.raises(FactsError, match=r"found no answer from gw1 after 0 s, needed one"):
        ask(plugin(does=drip), seconds=0.3)
    assert time.monotonic() - begun < 5
    assert started[0].wait(5) == -signal.SIGKILL
    assert before.poll() is None  # what was there before is not its
    before.kill()
    before.wait()


def test_a_timeout_of_ansible_s_own_that_comes_earlier_stays_as_it_is() -> None:
    class Theirs(BaseException):
        """Ansible's."""

    def over(_signal: int, _frame: object) -> None:
        raise Theirs

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(Theirs):
            ask(plugin(does=lambda: time.sleep(5)), seconds=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_timeout_of_ansible_s_own_that_comes_later_goes_on() -> None:
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        with pytest.raises(FactsError, match="found no answer from gw1"):
            ask(plugin(does=lambda: time.sleep(5)), seconds=0.2)
        assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] < 100
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_IGN
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("operation", [RELEASE, ("probe", "probe", "probe"), ("receipt", "receipt", "sweep")])
def test_output_without_end_meets_the_bound_in_memory(operation: answers.Key) -> None:
    kept: list[bytes] = []

    def flood() -> None:
        for _piece in range(1000):
            kept.append(b"x" * (1 << 20))

    memory = answers.OPERATIONS[operation].memory
    with pytest.raises(FactsError, match=f"found more output from gw1 than {memory} bytes of memory can hold"):
        action.on_host(plugin(does=flood), VARIABLES, operation, {}, seconds=60)
    assert len(kept) <= (memory >> 20) + 256  # what other tests of this process have left free is used too
    kept.clear()


def test_four_hosts_that_flood_at_once_leave_the_controller_its_memory() -> None:
    most = max(operation.memory for operation in answers.OPERATIONS.values())
    assert 4 * most <= 256 << 20
    assert answers.OPERATIONS[RELEASE].memory <= 24 << 20


def test_an_answer_is_no_larger_than_its_operation_needs() -> None:
    document = {"error": "x" * answers.SMALL}
    with pytest.raises(FactsError, match=f"an answer of more than {answers.SMALL} bytes"):
        ask(plugin(document))


def test_a_lost_connection_is_tried_as_often_as_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action, "RETRY_SECONDS", 0.0)
    tries: list[int] = []

    def lost() -> dict[str, Any]:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError
        return {"sent": 1}

    assert action.repeated(lost, ConnectionError, 2) == {"sent": 1}
    tries.clear()
    with pytest.raises(ConnectionError):
        action.repeated(lost, ConnectionError, 1)
