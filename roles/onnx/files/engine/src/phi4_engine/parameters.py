"""The values that a request may have: their types, their bounds, and how each is said in JSON."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

_MAX_TOKENS = 2**31 - 1
_INT64 = 2**63
_MOST_PROMPTS = 128
_MOST_BIASES = 1024
_LEAST_REPETITION = 0.1
_MOST_STOPS = 16
_MOST_BIAS = 100
"""OpenAI's bounds of a bias: at the ends a token is as good as forbidden, or forced."""


def _true_number(value: object) -> object:
    """JSON's true is 1 for Python; for a caller it is a mistake."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not a boolean")
    return value


def _whole_number(value: object) -> object:
    """Up to the next whole one: sliders of Open WebUI move by halves."""
    return math.ceil(value) if isinstance(value, float) and math.isfinite(value) else _true_number(value)


def _unbounded(value: object) -> object:
    """Ollama, llama.cpp and Open WebUI say with -1, or -2, that only the context is the limit of an answer."""
    return _MAX_TOKENS if type(value) is int and value in (-1, -2) else _true_number(value)


def _penalty_or_none(value: object) -> object:
    """Nothing where it could not divide: Open WebUI's slider goes down to -2, and what others make of it is noise."""
    checked = _true_number(value)
    return None if isinstance(checked, int | float) and checked < _LEAST_REPETITION else checked


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _biases(value: object) -> object:
    """Checked as a whole, so that no text of the client becomes a place in an error."""
    if not isinstance(value, dict):
        raise ValueError("must be an object of token ids and their biases")
    if len(value) > _MOST_BIASES:
        raise ValueError(f"has {len(value)} tokens: it must be at most {_MOST_BIASES}")
    for token, bias in value.items():
        if not (token.isascii() and token.isdigit() and len(token) <= 7):
            raise ValueError(f"{token[:20]!r} is no token id")
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not -_MOST_BIAS <= bias <= _MOST_BIAS:
            raise ValueError(f"the bias of token {token} must be a number from {-_MOST_BIAS} to {_MOST_BIAS}")
    return value


def _prompts(value: object) -> tuple[str, ...] | tuple[tuple[int, ...], ...]:
    """OpenAI's four forms of a prompt as two: texts, or lists of tokens."""
    values: list[Any] = value if isinstance(value, list) else [value]
    if value and values is value and all(type(one) is int for one in values):
        values = [values]
    if not 1 <= len(values) <= _MOST_PROMPTS:
        raise ValueError(f"found {len(values)} prompts, needed 1 to {_MOST_PROMPTS}")
    if all(isinstance(one, str) for one in values):
        return tuple(values)
    if not all(isinstance(one, list) and all(type(token) is int for token in one) for one in values):
        raise ValueError("must be a text, a list of texts, a list of token ids, or a list of such lists")
    if not all(0 <= token <= _MAX_TOKENS for one in values for token in one):
        raise ValueError("has a token id that is out of range")
    return tuple(map(tuple, values))


Temperature = Annotated[float, BeforeValidator(_true_number), Field(ge=0, le=2, allow_inf_nan=False)]
TopP = Annotated[float, BeforeValidator(_true_number), Field(ge=0, le=1, allow_inf_nan=False)]
TopK = Annotated[int, BeforeValidator(_whole_number), Field(ge=-1, le=_MAX_TOKENS)]
Penalty = Annotated[float, BeforeValidator(_true_number), Field(ge=-2, le=2, allow_inf_nan=False)]
RepetitionPenalty = Annotated[
    float, BeforeValidator(_true_number), Field(ge=_LEAST_REPETITION, le=10, allow_inf_nan=False)
]
"""Hugging Face's: it divides, so that 0 would mean nothing; 1 changes nothing."""
RepeatPenalty = Annotated[RepetitionPenalty | None, BeforeValidator(_penalty_or_none)]
"""llama.cpp's and Ollama's name of the same; Open WebUI sends it."""
Choices = Annotated[int, BeforeValidator(_true_number), Field(ge=1, le=128)]
"""OpenAI's bounds of n. How many this engine can give at once is a setting of it."""
TokenId = Annotated[int, BeforeValidator(_true_number), Field(ge=0, le=_MAX_TOKENS)]
_TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": _MAX_TOKENS}}
_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": _MOST_PROMPTS}
Prompts = Annotated[
    tuple[str, ...] | tuple[tuple[int, ...], ...],
    PlainValidator(_prompts),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                _TEXTS,
                {**_TOKENS, "minItems": 1},
                {"type": "array", "items": _TOKENS, "minItems": 1, "maxItems": _MOST_PROMPTS},
            ]
        }
    ),
]
TopLogprobs = Annotated[int, BeforeValidator(_true_number), Field(ge=0, le=20)]
Seed = Annotated[int, BeforeValidator(_true_number), Field(ge=-_INT64, lt=_INT64)]
LogitBias = Annotated[
    dict[str, float],
    BeforeValidator(_biases),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": "^[0-9]{1,7}$"},
            "additionalProperties": {"type": "number", "minimum": -_MOST_BIAS, "maximum": _MOST_BIAS},
            "maxProperties": _MOST_BIASES,
        }
    ),
]
"""Bias by token id. Ids that the model does not have are refused by the model process, which knows them."""
TokenCount = Annotated[int, BeforeValidator(_true_number), Field(ge=1, le=_MAX_TOKENS)]
AnswerLimit = Annotated[
    int,
    BeforeValidator(_unbounded),
    Field(ge=1, le=_MAX_TOKENS),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": _MAX_TOKENS}, {"enum": [-1, -2]}]}),
]
StopString = Annotated[str, Field(min_length=1, max_length=256)]
_STOP = {"type": "string", "minLength": 1, "maxLength": 256}
Stops = Annotated[
    list[StopString],
    BeforeValidator(_listed),
    Field(max_length=_MOST_STOPS),
    WithJsonSchema({"anyOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": _MOST_STOPS}]}),
]
