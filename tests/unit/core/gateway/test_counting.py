"""An engine that counts tokens is told whose request it is, by the real HAProxy and by nobody else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from phi4_edge.core.gateway import configuration
from phi4_edge.core.gateway.key_map import MOST
from tests.unit.core.gateway.running_gateway import CHAT, Running, key, needs_haproxy, running, until

ENGINE = Path(__file__).parents[4] / "roles" / "onnx" / "files" / "engine" / "src" / "phi4_engine" / "key_usage.py"
SPOOFED = {"phi4-key": "south", "Phi4-Tokens-Per-Day": "5", "PHI4-KEY": "west"}


def told(gateway: Running) -> dict[str, str]:
    """What the engine was told of the last request's key."""
    return {name: value for name, value in gateway.engine.seen.headers[-1].items() if "phi4" in name}


@needs_haproxy
def test_the_engine_is_told_the_key_and_its_tokens(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1, tokens_per_day=10_000), key("south", 2), counts=True) as gateway:
        for path, body in ((CHAT, {}), ("/v1/models", None)):
            for spoofed in ({}, SPOOFED):
                assert gateway.ask(path, body, 1, **spoofed).status == 200
                assert told(gateway) == {"phi4-key": "north", "phi4-tokens-per-day": "10000"}
                assert gateway.ask(path, body, 2, **spoofed).status == 200
                assert told(gateway) == {"phi4-key": "south"}


@needs_haproxy
def test_a_map_that_an_older_version_made_lets_the_same_keys_in(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1, tokens_per_day=7), key("south", 2, per_minute=2), counts=True) as gateway:
        lines = (tmp_path / "keys.map").read_text().splitlines()
        gateway.load("".join(f"{line.rpartition(':')[0]}\n" for line in lines))
        until(lambda: gateway.ask(body={}, sent=1).status == 200 and len(told(gateway)) == 1, "it is still limited")
        assert told(gateway) == {"phi4-key": "north"}
        assert [gateway.ask(body={}, sent=2).status for _ in range(3)] == [200, 200, 429]


@needs_haproxy
def test_without_keys_nobody_says_whose_request_it_is(tmp_path: Path) -> None:
    with running(tmp_path, counts=True) as gateway:
        assert gateway.ask(body={}, **SPOOFED).status == 200
        assert told(gateway) == {}


@needs_haproxy
def test_an_engine_that_does_not_count_is_told_nothing(tmp_path: Path) -> None:
    with running(tmp_path, key("north", 1, tokens_per_day=10_000)) as gateway:
        assert gateway.ask(body={}, sent=1).status == 200
        assert told(gateway) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("KEY_HEADER, TOKENS_HEADER", (configuration.KEY_HEADER, configuration.TOKENS_HEADER)), ("MOST_KEYS", MOST)],
)
def test_gateway_and_engine_say_it_in_the_same_words(name: str, value: object) -> None:
    [line] = re.findall(rf"^{name} = (.*)$", ENGINE.read_text(), re.MULTILINE)
    assert line == (", ".join(f'"{one}"' for one in value) if isinstance(value, tuple) else str(value))
