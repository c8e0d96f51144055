"""Tokens of each key and day: what counts, who is refused, what outlasts the engine."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import openai
import pytest
from client import DEADLINE, Answer, Engine, Stream
from conftest import StartEngine
from openai import OpenAI
from shapes import script

from phi4_engine import key_usage
from phi4_engine.errors import ApiError
from phi4_engine.key_usage import FILE, MOST_KEYS, Caller, KeyUsage
from phi4_engine.metrics import Metrics, Now

NORTH = {"phi4-key": "north"}
NOON = 1_800_014_400.0  # 2027-01-15 12:00
DAY = "2027-01-15"
MODEL = "phi-4-mini-instruct"


class Clock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def saved(folder: Path) -> Any:
    return json.loads((folder / FILE).read_text())["tokens"]


@pytest.fixture
def counting(start: StartEngine, tmp_path: Path) -> Callable[..., Engine]:
    def begun(**environ: str) -> Engine:
        engine = start(PHI4_KEY_USAGE=str(tmp_path), PHI4_PARALLEL="2", **environ)
        engine.wait_for(200)
        return engine

    return begun


def ask(engine: Engine, content: str, path: str = "/v1/chat/completions", **fields: Any) -> Answer:
    """A request as it comes through a gateway; `limit`: the key's tokens per day."""
    limit = fields.pop("limit", 0)
    headers = NORTH | ({"phi4-tokens-per-day": str(limit)} if limit else {})
    asked = {"messages": [{"role": "user", "content": content}]} if "chat" in path else fields.pop("asked")
    return engine.request("POST", path, json.dumps({**asked, **fields}).encode(), headers)


def used(engine: Engine, key: str = "north") -> float:
    """What /metrics says of a key."""
    lines = [line for line in engine.get("/metrics").body.decode().splitlines() if f'key="{key}"' in line]
    assert len(lines) <= 1
    return float(lines[0].rpartition(" ")[2]) if lines else 0


def until(engine: Engine, wanted: Callable[[float], bool]) -> float:
    give_up = time.monotonic() + DEADLINE
    while not wanted(found := used(engine)):
        assert time.monotonic() < give_up, found
        time.sleep(0.02)
    return found


def test_answers_count_as_their_usage_says(counting: Callable[..., Engine]) -> None:
    engine, said = counting(), script("abcd", "<|end|>", prompt_tokens=50)
    total = 0
    for path, asked in (
        ("/v1/chat/completions", {}),
        ("/v1/chat/completions", {"n": 2}),
        ("/v1/completions", {"asked": {"prompt": [said, said], "max_tokens": 3}}),
        ("/v1/responses", {"asked": {"input": said}}),
    ):
        found = ask(engine, said, path, **asked)
        assert found.status == 200, found.body
        total += found.json()["usage"]["total_tokens"]
        assert used(engine) == total, path
    assert total == 55 + 60 + 106 + 55
    assert engine.chat(said).status == 200, "nobody's request"
    assert used(engine) == total


def test_who_has_used_it_all_is_refused_until_midnight(counting: Callable[..., Engine]) -> None:
    engine, said = counting(), script("abcd", "<|end|>", prompt_tokens=50)
    assert ask(engine, said, limit=56).status == 200
    assert ask(engine, said, limit=56).status == 200, "55 of 56 are used: it begins below the limit, and is finished"
    found = ask(engine, said, limit=56, stream=True)
    assert (found.status, found.headers["x-should-retry"]) == (429, "false")
    error = found.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("insufficient_quota", "insufficient_quota", None)
    assert "110 tokens today, of 56" in error["message"]
    assert abs(int(found.headers["retry-after"]) - (86_400 - time.time() % 86_400)) < 60
    assert used(engine) == 110
    assert ask(engine, said, limit=200).status == 200, "it has got more"
    assert ask(engine, said).status == 200, "without a limit it is only counted"
    other = {"phi4-key": "south", "phi4-tokens-per-day": "1"}
    body = json.dumps({"messages": [{"role": "user", "content": said}]}).encode()
    assert engine.request("POST", "/v1/chat/completions", body, other).status == 200
    assert (used(engine), used(engine, "south")) == (220, 55)


def test_openai_s_client_sees_a_rate_limit_and_does_not_try_again(counting: Callable[..., Engine]) -> None:
    engine, said = counting(), script("abcd", "<|end|>")
    headers = {**NORTH, "phi4-tokens-per-day": "1"}
    client = OpenAI(base_url=f"http://127.0.0.1:{engine.port}/v1", api_key="none", default_headers=headers)
    message: Any = {"role": "user", "content": said}
    client.chat.completions.create(model=MODEL, messages=[message])
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=MODEL, messages=[message])
    assert (caught.value.code, caught.value.type) == ("insufficient_quota", "insufficient_quota")
    assert 'status="429"} 1\n' in engine.get("/metrics").body.decode()


@pytest.mark.parametrize("say", [[], ["<|tool_call|>"]], ids=["text", "call"])
def test_what_was_generated_for_a_client_that_leaves_counts(counting: Callable[..., Engine], say: list[str]) -> None:
    engine = counting()
    body = {"messages": [{"role": "user", "content": script(*say, prompt_tokens=50, step=0.02)}], "stream": True}
    stream = Stream(engine.port, body, headers=NORTH)
    # A call is told of at its end only; what it has taken so far is known all the same.
    until(engine, lambda count: count >= 55)
    stream.close()
    engine.wait_for_log("not finished")
    count = used(engine)
    assert 55 <= count < 400
    time.sleep(0.2)
    assert used(engine) == count


def test_streams_and_failures_count(counting: Callable[..., Engine]) -> None:
    engine = counting()
    body = {"messages": [{"role": "user", "content": script("abcd", "<|end|>", prompt_tokens=50)}], "stream": True}
    stream = Stream(engine.port, body, headers=NORTH)
    assert stream.text() == "abcd"
    stream.close()
    until(engine, lambda count: count == 55)
    assert ask(engine, script(do="refuse")).status == 500
    assert used(engine) == 55, "its prompt was never read"


def test_without_a_folder_no_header_has_an_effect(start: StartEngine) -> None:
    engine = start()
    engine.wait_for(200)
    for _ in range(2):
        assert ask(engine, script("abcd", "<|end|>"), limit=1).status == 200
    assert "phi4_edge:key_tokens" not in engine.get("/metrics").body.decode()


@pytest.mark.parametrize("killed", [False, True])
def test_the_counts_outlast_the_engine(counting: Callable[..., Engine], tmp_path: Path, killed: bool) -> None:
    engine, said = counting(), script("abcd", "<|end|>", prompt_tokens=50)
    assert ask(engine, said).status == 200
    give_up = time.monotonic() + DEADLINE
    while killed and not (tmp_path / FILE).exists():
        assert time.monotonic() < give_up
        time.sleep(0.1)
    if killed:
        engine.process.kill()
    assert (engine.wait() if killed else engine.terminate()) == (-9 if killed else 0)
    assert saved(tmp_path) == {"north": 55}
    again = counting()
    assert used(again) == 55
    assert ask(again, said, limit=55).status == 429


def test_a_folder_that_cannot_be_written_stops_nobody(start: StartEngine, tmp_path: Path) -> None:
    engine = start(PHI4_KEY_USAGE=str(tmp_path / "gone"))
    engine.wait_for(200)
    assert ask(engine, script("abcd", "<|end|>")).status == 200
    assert ask(engine, script("abcd", "<|end|>"), limit=5).status == 429
    assert engine.terminate() == 0
    assert engine.log.count("cannot be kept in") == 1


def test_another_day_has_new_counts(tmp_path: Path) -> None:
    clock, who = Clock(), Caller("north", 10)
    keys = KeyUsage(tmp_path, clock)
    keys.add(who, 10)
    for day in (1, -3):
        with pytest.raises(ApiError) as refused:
            keys.require(who)
        assert refused.value.headers["Retry-After"] == str(43_200)
        clock.now += day * 86_400
        keys.require(who)
        assert keys.tokens == {}
        keys.add(who, 10)
    keys.close()
    assert KeyUsage(tmp_path, clock).tokens == {"north": 10}
    assert KeyUsage(tmp_path, Clock(clock.now + 86_400)).tokens == {}


def test_the_last_second_of_a_day_is_one(tmp_path: Path) -> None:
    keys = KeyUsage(tmp_path, Clock(NOON + 43_199.999))
    keys.add(Caller("north"), 1)
    with pytest.raises(ApiError) as refused:
        keys.require(Caller("north", 1))
    assert refused.value.headers["Retry-After"] == "1"


def test_no_more_keys_are_known_than_a_gateway_has(tmp_path: Path) -> None:
    keys = KeyUsage(tmp_path, Clock())
    for number in range(MOST_KEYS):
        keys.add(Caller(f"k{number}"), 2 if number else 1)
    keys.add(Caller("late"), 5)
    assert len(keys.tokens) == MOST_KEYS
    assert "k0" not in keys.tokens
    assert keys.tokens["late"] == 5
    keys.close()
    assert KeyUsage(tmp_path, Clock()).tokens == keys.tokens
    text = Metrics(MODEL).text(Now(0, 0, 0), keys.tokens)
    assert text.count("phi4_edge:key_tokens_total{") == 256
    assert 'key="late"' in text


@pytest.mark.parametrize(
    "headers",
    [{}, {"phi4-key": ""}, {"phi4-key": "North"}, {"phi4-key": "a b"}, {"phi4-key": "a" * 64}, {"phi4-key": "-a"},
     {"phi4-tokens-per-day": "1"}],
)  # fmt: skip
def test_a_name_that_no_key_has_is_nobody(tmp_path: Path, headers: Mapping[str, str]) -> None:
    assert KeyUsage(tmp_path).caller(headers) is None


@pytest.mark.parametrize(
    ("sent", "found"), [("1", 1), ("1000000000", 10**9), ("0", None), ("-1", None), ("1e3", None), ("9" * 13, None)]
)
def test_a_limit_is_a_number(tmp_path: Path, sent: str, found: int | None) -> None:
    headers = {"phi4-key": "north", "phi4-tokens-per-day": sent}
    assert KeyUsage(tmp_path).caller(headers) == Caller("north", found)
    assert KeyUsage(None).caller(headers) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"nonsense", b"[]", b"{}", b"\xff", b"[" * 100_000, b" " * 300_000,
        b'{"format":"another","day":"2027-01-15","tokens":{}}',
        *(
            json.dumps({"format": key_usage.FORMAT, "day": DAY, "tokens": tokens}).encode()
            for tokens in (
                None, [], {"North": 1}, {"north": -1}, {"north": 1.5}, {"north": True}, {"north": "1"},
                {"north": 10**16}, {f"k{number}": 1 for number in range(MOST_KEYS + 1)},
            )
        ),
    ],
    ids=lambda raw: repr(raw)[:60],
)  # fmt: skip
def test_a_damaged_or_foreign_file_counts_as_none(tmp_path: Path, raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_bytes(raw)
    with caplog.at_level(logging.WARNING):
        keys = KeyUsage(tmp_path, Clock())
    assert keys.tokens == {}
    assert len(caplog.records) == 1
    keys.add(Caller("north"), 1)
    keys.close()
    assert saved(tmp_path) == {"north": 1}


def test_no_file_and_one_of_yesterday_are_nothing_to_tell_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert KeyUsage(tmp_path, Clock()).tokens == {}
    (tmp_path / FILE).write_text(json.dumps({"format": key_usage.FORMAT, "day": "2027-01-14", "tokens": {"north": 1}}))
    assert KeyUsage(tmp_path, Clock()).tokens == {}
    assert not caplog.records


def test_a_file_that_cannot_be_read_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).mkdir()
    keys = KeyUsage(tmp_path, Clock())
    assert len(caplog.records) == 1
    keys.add(Caller("north"), 1)
    keys.close()
    assert "cannot be kept in" in caplog.text
