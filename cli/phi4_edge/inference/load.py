"""How fast an engine is, measured from outside: rates and times of requests through its API.

Every prompt begins with a word of its own, so that no engine has its start already; a second request with the same
prompt shows what the engine keeps of the first one.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from phi4_edge.core.plan.overrides import LONGEST_CONTEXT
from phi4_edge.errors import HostFailedError
from phi4_edge.inference import client
from phi4_edge.inference.prompts import Prompt
from phi4_edge.inference.verdict import Answer
from phi4_edge.ssh.tunnel import Connection

# Words that every tokenizer of a model of English has; they make no sense, and none is needed.
_WORDS = ("the", "sensor", "of", "a", "pump", "tells", "that", "water", "in", "this", "plant", "is", "warm", "and")
_ASK = "Write a long story about what follows, in many words."
# Of a full context, what a template and an answer's end may take besides.
SPARE_TOKENS = 64
# What a host says of itself is no reason to start more threads here.
MOST_STREAMS = 64
# In less, no engine makes the 8 tokens or more of an answer, unless the model is very small.
_AT_ONCE_SECONDS, _QUICK_ROUNDS = 0.005, 6
# Words may make more tokens than those of the prompts before did.
_FILL = 0.92

Opened = Callable[[], contextlib.AbstractContextManager[Connection]]


@dataclass(frozen=True)
class Load:
    """How much is asked: `words` of a prompt, `tokens` of an answer, `rounds` of each kind; `seconds` for an answer."""

    words: int = 200
    tokens: int = 64
    rounds: int = 3
    seconds: float = 900.0


@dataclass(frozen=True)
class Rates:
    """Tokens per second of making answers and of reading prompts, of all streams together; seconds until the first.

    `prompt_tokens` of one prompt. None: the engine does not say how many tokens there were.
    """

    decode: float
    prefill: float | None
    first: float
    prompt_tokens: float | None


def prompt(words: int, tokens: int) -> Prompt:
    """A prompt that no engine has seen, of about so many words, answered with at most so many tokens."""
    text = " ".join(itertools.islice(itertools.cycle(_WORDS), words))
    return Prompt("bench", "bench", f"{secrets.token_hex(6)}. {_ASK} {text}", "", tokens, 0.0)


def asked(connection: Connection, wish: Prompt, model: str, seconds: float) -> Answer:
    """The answer to one prompt. Raises HostFailedError that says why there is none, or OSError."""
    found = client.ask(connection, wish, model, stream=True, seconds=seconds)
    if not found.answered:
        raise HostFailedError(found.error)
    return found


def cold(connection: Connection, model: str, load: Load) -> Rates:
    """Rates of one stream, each prompt new. Raises HostFailedError, OSError."""
    new = (prompt(load.words, load.tokens) for _ in range(load.rounds))
    found = [asked(connection, one, model, load.seconds) for one in new]
    if not _at_once(found):
        return rates([[answer] for answer in found])
    return rates([[_quickest(connection, model, load, load.tokens)]], _one_token(connection, model, load))


def _at_once(answers: Sequence[Answer]) -> bool:
    """Whether nothing can be told from the time between the first token and the last: they came in one packet."""
    return all((one.seconds or 0.0) - (one.first_token_seconds or 0.0) < _AT_ONCE_SECONDS for one in answers)


def _one_token(connection: Connection, model: str, load: Load) -> float:
    """Seconds that an answer of one token to a new prompt takes. Raises HostFailedError, OSError."""
    return _quickest(connection, model, load, 1).seconds or 0.0


def _quickest(connection: Connection, model: str, load: Load, tokens: int) -> Answer:
    """The quickest of some answers to new prompts: what disturbs one makes it longer, never shorter."""
    new = (prompt(load.words, tokens) for _ in range(_QUICK_ROUNDS))
    return min((asked(connection, one, model, load.seconds) for one in new), key=lambda answer: answer.seconds or 0.0)


def warm(connection: Connection, model: str, load: Load) -> float:
    """Seconds until the first token of a prompt that was answered just before. Raises HostFailedError, OSError."""
    same = prompt(load.words, load.tokens)
    asked(connection, same, model, load.seconds)
    again = [asked(connection, same, model, load.seconds) for _ in range(load.rounds)]
    return median(answer.first_token_seconds or 0.0 for answer in again)


def together(opened: Opened, model: str, load: Load, streams: int) -> Rates:
    """Rates of all streams together, each over a connection of its own. Raises HostFailedError, OSError."""
    found: list[Answer] = []
    errors: list[Exception] = []

    def one() -> None:
        try:
            with opened() as connection:
                client.model(connection, model, strictly=False)
                start.wait(load.seconds)
                found.append(asked(connection, prompt(load.words, load.tokens), model, load.seconds))
        except (OSError, HostFailedError, threading.BrokenBarrierError) as error:
            errors.append(error)
            start.abort()

    start = threading.Barrier(streams)
    crew = [threading.Thread(target=one, daemon=True) for _ in range(streams)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    real = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    if errors or len(found) < streams:
        why = str(real[0]) if real else "they did not begin together"
        raise HostFailedError(f"{len(found)} of {streams} streams were answered: {why}")
    if not _at_once(found):
        return rates([found])
    with opened() as connection:
        client.model(connection, model, strictly=False)
        return rates([found], _one_token(connection, model, load))


def full(connection: Connection, model: str, load: Load, context: int, per_word: float) -> Answer:
    """The answer to a prompt that fills the context. Raises HostFailedError, OSError."""
    room = max(1, min(context, LONGEST_CONTEXT) - load.tokens - SPARE_TOKENS)
    # A word is a token at least, whatever the engine counted.
    words = max(1, int(_FILL * room / max(1.0, per_word)))
    return asked(connection, prompt(words, load.tokens), model, load.seconds)


def rates(groups: Sequence[Sequence[Answer]], first_token: float | None = None) -> Rates:
    """The rates of answers; those of a group began together.

    `first_token`: seconds until the first token, where the answers do not show it because they came at once. Raises
    HostFailedError where there are too few tokens to tell a rate from.
    """
    made, making = 0, 0.0
    first, reading, prompts = [], [], []
    for group in groups:
        firsts = [first_token or answer.first_token_seconds or 0.0 for answer in group]
        # Behind the first token of all: what came before it was reading prompts.
        making += max(answer.seconds or 0.0 for answer in group) - min(firsts)
        made += sum(answer.completion_tokens or 0 for answer in group) - 1
        first.append(median(firsts))
        told = [answer.prompt_tokens for answer in group if answer.prompt_tokens]
        if len(told) == len(group) and max(firsts) > 0:
            reading.append(sum(told) / max(firsts))
            prompts += told
    if made < 1 or making <= 0:
        raise HostFailedError(
            f"found answers of {made + len(groups)} tokens in all, needed more to tell a speed from: the model says "
            "too little, or --tokens is too small"
        )
    read = median(reading) if reading else None
    return Rates(made / making, read, median(first), median(prompts) if prompts else None)
