"""The lines between both processes: what goes in comes out, and nothing else is understood."""

from __future__ import annotations

import json

import pytest

from phi4_engine.wire import (
    Command,
    Compiled,
    Event,
    Finished,
    Form,
    Job,
    Refused,
    Sampling,
    Spelt,
    Text,
    Tokenized,
    TokenLogprob,
    decode_command,
    decode_event,
    encode_command,
    encode_event,
)

SAMPLING = Sampling(0.5, 0.9, -(2**63), 40, 0.1, 1.5, -2.0, 1.1, ((5, -100.0), (7, 2.5)))
JOB = Job("a", ({"role": "user", "content": "é"},), 7, SAMPLING, ("x", "\n"), ((1, 2), (3,)), 20, 3, ("t",), "input")


@pytest.mark.parametrize(
    "command",
    [
        Command("generate", "a", JOB),
        Command("encode", "b", Job("b")),
        Command("spell", "c", tokens=(1, 2)),
        Command("compile", "d", Job("d", form=Form('start: calls\ncalls: "é"', ("tools", "tools[0]"), lazy=True))),
        Command("ping"),
    ],
)
def test_a_command_arrives_as_it_was(command: Command) -> None:
    line = encode_command(command)
    assert line.count(b"\n") == 1
    assert decode_command(line) == command


ENTRY: TokenLogprob = {"token": "\u2028", "logprob": -0.5, "bytes": [226, 128, 168], "top_logprobs": []}


@pytest.mark.parametrize(
    "event",
    [
        Text("a", "é\n", 3, [ENTRY], 2),
        Compiled("a"),
        Finished("a", "length", 9, None, 4, 2, last=False),
        Tokenized("a", [2, 1], [[1, 2], [3]]),
        Spelt("a", "xy", ["x", "y"]),
        Refused("a", "invalid_value", "no", "prompt"),
    ],
)
def test_an_event_arrives_as_it_was(event: Event) -> None:
    line = encode_event(event)
    assert line.count(b"\n") == 1
    assert decode_event(line) == event


@pytest.mark.parametrize(
    "change",
    [{"prompts": 7}, {"prompts": [1]}, {"sampling": {"logit_bias": [[1]]}}, {"sampling": None}, {"unknown": 1}],
)
def test_a_job_of_another_version_is_no_command(change: dict[str, object]) -> None:
    fields = json.loads(encode_command(Command("generate", "a", JOB)))
    fields["job"] |= change
    with pytest.raises(ValueError, match="not a command"):
        decode_command(json.dumps(fields).encode())
