"""Keys share an engine that has too much to do, in the real HAProxy with our configuration."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from phi4_edge.core.gateway.model import Limits
from tests.unit.core.gateway.running_gateway import Running, key, needs_haproxy, running, until

# Seconds of many clients: `make tables` runs them.
pytestmark = [needs_haproxy, pytest.mark.full]


@contextmanager
def asking(gateway: Running, numbers: list[int], seconds: float) -> Iterator[Counter[int]]:
    """A client for each of these keys asks on and on, and again soon where it is refused; how many answers each got."""
    got, done = Counter[int](), threading.Event()

    def client(number: int) -> None:
        while not done.is_set():
            found = gateway.ask(body={"seconds": seconds}, sent=number)
            if found.status == 200:
                got[number] += 1
            else:
                assert (found.status, found.headers["retry-after"]) == (429, "10")
                time.sleep(0.1)

    with ThreadPoolExecutor(len(numbers)) as pool:
        clients = [pool.submit(client, number) for number in numbers]
        try:
            yield got
        finally:
            done.set()
    for one in clients:
        one.result()


def test_one_key_s_crowd_lets_another_key_go_before(tmp_path: Path) -> None:
    with (
        running(tmp_path, key("crowd", 1), key("alone", 2), limits=Limits(queue=64)) as gateway,
        ThreadPoolExecutor(20) as pool,
    ):
        crowd = [pool.submit(gateway.ask, body={"seconds": 0.2, "of": "crowd"}, sent=1) for _ in range(15)]
        until(lambda: len(gateway.engine.seen.bodies) >= 2, "nothing runs")
        alone = pool.submit(gateway.ask, body={"of": "alone"}, sent=2)
        assert {one.result().status for one in [*crowd, alone]} == {200}
        order = [body["of"] for body in gateway.engine.seen.bodies]
        assert order.index("alone") < 8, order


def test_a_key_that_asks_on_and_on_does_not_keep_another_out(tmp_path: Path) -> None:
    with (
        running(tmp_path, key("crowd", 1), key("alone", 2), limits=Limits(queue=8), streams=2) as gateway,
        asking(gateway, [1] * 14, 0.05) as got,
    ):
        until(lambda: got[1] > 20, "nothing runs")
        assert [gateway.ask(body={}, sent=2).status for _ in range(10)] == [200] * 10


def test_of_many_keys_none_is_left_out(tmp_path: Path) -> None:
    numbers = [*range(1, 25)]
    keys = [key(f"k{number}", number) for number in numbers]
    with (
        running(tmp_path, *keys, limits=Limits(queue=8), streams=2) as gateway,
        asking(gateway, numbers, 0.05) as got,
    ):
        until(lambda: min(got[number] for number in numbers) >= 3, f"some starve: {got}")
        assert max(got.values()) <= 9, got
