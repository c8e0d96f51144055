"""The real HAProxy as a balancer in front of three gateways: nothing fails, conversations stay, weights count."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.core.gateway.balancer import Checks
from tests.ansible.host_scripts import hosthaproxy
from tests.unit.core.gateway.certificates import certificate
from tests.unit.core.gateway.running_balancer import RunningBalancer, balancing_over
from tests.unit.core.gateway.running_gateway import Running, key, needs_haproxy, until, version

pytestmark = [
    pytest.mark.slow,
    needs_haproxy,
    pytest.mark.skipif(version() < (2, 4), reason="HAProxy reads JSON from 2.4 on"),
]
# What a switch takes, or longer.
AWAY_SECONDS = 4
KEYS = [key("north", 1)]


def talk(system: str, turns: int) -> list[dict[str, str]]:
    """The messages of a conversation at its turn number `turns`."""
    messages = [{"role": "system", "content": system}] if system else []
    for turn in range(turns):
        messages.append({"role": "user", "content": f"{system} question {turn}"})
        messages.append({"role": "assistant", "content": f"answer {turn}"})
    return messages[:-1]


def answered_by(balancer: RunningBalancer, body: dict[str, Any]) -> int:
    """The number of the gateway that answers this."""
    before = [len(gateway.engine.seen.bodies) for gateway in balancer.gateways]
    assert balancer.ask(body=body, sent=1).status == 200
    found = [
        number
        for number, gateway in enumerate(balancer.gateways)
        if any(one.get("messages") == body["messages"] for one in gateway.engine.seen.bodies[before[number] :])
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("system", ["You help.", ""], ids=["system", "none"])
def test_a_conversation_stays_on_its_gateway(tmp_path: Path, system: str) -> None:
    with balancing_over(tmp_path, KEYS) as balancer:
        found = []
        for turn in range(1, 6):
            found.append(answered_by(balancer, {"messages": talk(system, turn)}))
            answered_by(balancer, {"messages": talk(f"another {turn}", 1)})
        assert len(set(found)) == 1, found


def test_weights_say_who_gets_how_much(tmp_path: Path) -> None:
    with balancing_over(tmp_path, KEYS, weights=(256, 128, 64), streams=16) as balancer, ThreadPoolExecutor(14) as pool:
        bodies = [{"seconds": 0.15, "messages": talk(f"number {number}", 1)} for number in range(280)]
        statuses = Counter(answer.status for answer in pool.map(lambda body: balancer.ask(body=body, sent=1), bodies))
        assert statuses == {200: 280}
        parts = [sum("seconds" in body for body in gateway.engine.seen.bodies) for gateway in balancer.gateways]
    assert abs(parts[0] - 160) < 30
    assert abs(parts[1] - 80) < 24
    assert abs(parts[2] - 40) < 20


def test_an_engine_that_generates_nothing_gets_no_requests(tmp_path: Path) -> None:
    with balancing_over(tmp_path, KEYS) as balancer:
        hung = balancer.gateways[1].engine.seen
        hung.hung = True
        assert balancer.gateways[1].ask("/health").status == 200
        log = balancer.log
        until(lambda: "Server gateways/gw1 is DOWN" in log.read_text(), "it still gets requests")
        before = len(hung.bodies)
        for number in range(12):
            assert balancer.ask(body={"messages": talk(f"n {number}", 1)}, sent=1).status == 200
        assert not any("n " in str(body) for body in hung.bodies[before:])
        hung.hung = False
        hung.release.set()
        until(lambda: "Server gateways/gw1 is UP" in log.read_text(), "it gets no requests any more")


class Crowd:
    """Sixteen clients in the middle of conversations, and what they got: statuses, negative for what was not whole."""

    def __init__(self, balancer: RunningBalancer) -> None:
        self.found: Counter[int] = Counter()
        self._balancer, self._done, self._one = balancer, threading.Event(), threading.Lock()

    def __enter__(self) -> Crowd:
        self._pool = ThreadPoolExecutor(16)
        self._clients = [self._pool.submit(self._client, number) for number in range(16)]
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        with self._pool:
            for client in self._clients:
                client.result()

    def _client(self, number: int) -> None:
        turn = 0
        while not self._done.is_set():
            turn += 1
            body: dict[str, Any] = {"messages": talk(f"client {number} {turn // 5}", turn % 5 + 1)}
            body |= {"stream": True, "pieces": 5, "gap": 0.01} if turn % 2 else {"seconds": 0.05}
            answer = self._balancer.ask(body=body, sent=1)
            whole = answer.text.count("data: ") == 5 if turn % 2 else "chat.completion" in answer.text
            with self._one:
                self.found[answer.status if whole else -answer.status] += 1


def away(gateway: Running) -> None:
    """Its engine ends, is gone for some seconds, and serves again."""
    gateway.engine.end()
    time.sleep(AWAY_SECONDS)
    gateway.engine.begin()
    until(gateway.answers, "its gateway does not notice the engine")


@pytest.mark.full
def test_no_request_fails_while_one_gateway_after_another_is_drained_and_its_engine_replaced(tmp_path: Path) -> None:
    with balancing_over(tmp_path, KEYS, certificate=str(certificate(tmp_path))) as balancer, Crowd(balancer) as crowd:
        socket = balancer.balancer.socket
        for number, gateway in enumerate(balancer.gateways):
            assert hosthaproxy.drain(socket, "gateways", f"gw{number}", 10) == 0
            before = len(gateway.engine.seen.bodies)
            time.sleep(0.5)
            assert not any("client" in str(body) for body in gateway.engine.seen.bodies[before:])
            away(gateway)
            hosthaproxy.set_state(socket, "gateways", f"gw{number}", "ready")
            until(lambda seen=gateway.engine.seen, before=before: len(seen.bodies) > before + 20, "nothing comes back")
    assert set(crowd.found) == {200}, crowd.found
    assert crowd.found[200] > 500


def test_no_request_fails_while_a_gateway_says_that_its_engine_does_not_serve(tmp_path: Path) -> None:
    with balancing_over(tmp_path, KEYS) as balancer, Crowd(balancer) as crowd:
        gateway = balancer.gateways[0]
        gateway.engine.seen.healthy = False
        until(lambda: not gateway.answers(), "its gateway does not notice")
        time.sleep(1)
        gateway.engine.seen.healthy = True
        until(gateway.answers, "its gateway does not notice the engine")
        before = len(gateway.engine.seen.bodies)
        until(lambda: len(gateway.engine.seen.bodies) > before + 20, "nothing comes back")
    assert set(crowd.found) == {200}, crowd.found
    assert crowd.found[200] > 200


def test_a_gateway_that_refuses_is_not_asked_again_for_the_same_request(tmp_path: Path) -> None:
    with balancing_over(tmp_path, KEYS, checks=Checks(60, 60, 60)) as balancer:
        balancer.gateways[0].engine.end()
        balancer.gateways[1].engine.end()
        try:
            for number in range(9):
                assert balancer.ask(body={"messages": talk(f"n {number}", 1)}, sent=1).status == 200
        finally:
            for gateway in balancer.gateways[:2]:
                gateway.engine.begin()
