"""OpenAI's client in front of the tiny model: 48 behaviours, and what is refused on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import openai_beyond_chat
import pytest
from client import healthy
from openai import OpenAI
from openai_behaviours import ASKED, BEHAVIOURS, MODEL, ask


@pytest.fixture(scope="module")
def client(model_dir: Path) -> Iterator[OpenAI]:
    environ = {"PHI4_MODEL_DIR": str(model_dir), "PHI4_MODEL_NAME": MODEL, "PHI4_CONTEXT_LENGTH": "1024"}
    with (
        healthy({**environ, "PHI4_PARALLEL": "4"}) as engine,
        OpenAI(base_url=f"http://127.0.0.1:{engine.port}/v1", api_key="none", max_retries=0, timeout=60) as found,
    ):
        yield found


def test_there_are_48() -> None:
    assert len(BEHAVIOURS) == 48
    assert {function.__module__ for function in BEHAVIOURS.values()} == {ask.__module__, openai_beyond_chat.__name__}


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_behaviour(client: OpenAI, name: str) -> None:
    BEHAVIOURS[name](client)


REFUSED: dict[str, tuple[type[openai.APIStatusError], Callable[[OpenAI], Any]]] = {
    "embeddings": (openai.NotFoundError, lambda it: it.embeddings.create(model=MODEL, input="a")),
    "pictures": (
        openai.BadRequestError,
        lambda it: it.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]}
            ],
        ),
    ),
    "what is kept of a response": (
        openai.BadRequestError,
        lambda it: it.responses.create(model=MODEL, input="a", previous_response_id="resp_1"),
    ),
    "functions of the old form": (
        openai.BadRequestError,
        lambda it: it.chat.completions.create(model=MODEL, messages=ASKED, functions=[{"name": "f"}]),  # type: ignore[call-overload]
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_on_purpose_is_an_error_of_the_clients_own(client: OpenAI, what: str) -> None:
    kind, request = REFUSED[what]
    with pytest.raises(kind):
        request(client)
