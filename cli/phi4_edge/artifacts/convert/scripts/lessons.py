"""What the tiny model is taught: conversations from tiny_dialogues.toml, as the engines would put them to the model.

Used by what teaches and by what examines. Standard library only.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

CALL, CALL_END, RESPONSE = "<|tool_call|>", "<|/tool_call|>", "<|tool_response|>"
# What it says where it was taught nothing, and where no tool fits.
UNKNOWN = "I am a tiny model and was not taught that."
NO_TOOL = "None of my tools can do that."
_ENDLESS = 40  # words of an answer without an end, as far as it is taught
_SLOT = re.compile(r"\$([a-z]+)")

Json = dict[str, Any]


@dataclass(frozen=True)
class Lesson:
    """One conversation and what follows: `messages` as an engine's API has them, `tools` as it would be offered them.

    Each of `answers` is right; where it is `endless`, the answer goes on like this.
    """

    messages: tuple[Json, ...]
    tools: tuple[Json, ...]
    answers: tuple[str, ...]
    endless: bool = False


class Lessons:
    """All that is taught: `fixed` lists each question in each phrasing, `drawn` draws from them and varies them."""

    def __init__(self, dialogues: str, text: str) -> None:
        self._plan: Json = tomllib.loads(dialogues)
        self._words = re.findall(r"[A-Za-z]+", text)
        self._kinds = [*self._plan["dialogue"], *self._plan["calls"], *self._plan["refused"]]
        self._weights = [kind.get("weight", 1) for kind in self._kinds]

    def corpus(self) -> str:
        """All texts, for the tokenizer; each value of a slot often enough to be one token, in text and in JSON."""
        texts = [*self._plan["systems"], *self._plan["tool_systems"], UNKNOWN, NO_TOOL]
        for kind in self._kinds:
            answers = kind.get("answer", [])
            texts += [*kind["ask"], *([answers] if isinstance(answers, str) else answers)]
            texts += [kind[name] for name in ("arguments", "result") if name in kind]
        for name in self._plan["tools"]:
            texts += [json.dumps(self._tool(name)), self._call(name, "{}")]
        values = (f' {value} "{value}"' for value in self.values() * 9)
        return "\n".join([*(_SLOT.sub(" ", text) for text in texts * 3), *values])

    def values(self) -> list[str]:
        """All values of all slots."""
        return [value for slot in self._plan["slots"].values() for value in slot]

    def fixed(self, rng: random.Random) -> Iterator[Lesson]:
        """Every phrasing of every question, plain, with each combination of values: a fifth of those is never drawn."""
        for kind in self._plan["dialogue"]:
            for ask in kind["ask"]:
                yield from (self._dialogue(kind, ask, values) for values in self._combinations(kind, ask))
        for kind in self._plan["refused"]:
            for ask in kind["ask"]:
                yield self._refused(kind, ask, rng)
        for kind in self._plan["calls"]:
            for ask in kind["ask"]:
                for tool in self._plan["tools"]:
                    if tool != kind["tool"]:
                        yield self._refused(kind, ask, rng, [tool])
                for values in self._combinations(kind, ask):
                    yield self._called(kind, ask, values, [kind["tool"]], "")
            if "result" in kind:
                first = kind["ask"][0]
                yield from (self._answered(kind, first, values) for values in self._combinations(kind, first, True))

    def drawn(self, rng: random.Random) -> Lesson:
        """One lesson, varied: other tools beside the right one, a system message, an earlier turn, other spelling."""
        if rng.random() < 0.04:
            return self._unknown(rng)
        (kind,) = rng.choices(self._kinds, self._weights)
        ask = rng.choice(kind["ask"])
        if "tool" in kind:
            return self._tool_lesson(kind, ask, rng)
        if "answer" not in kind:
            return self._refused(kind, ask, rng)
        lesson = self._dialogue(kind, ask, self._values(kind, ask, rng))
        if kind.get("before"):
            return lesson
        if rng.random() < 0.12:
            return self._offered(lesson, rng)
        system = self._system(self._plan["systems"], rng, 0.3)
        before = self._earlier(rng) if rng.random() < 0.1 else ()
        return Lesson((*system, *before, *_spelt(lesson.messages, rng)), (), lesson.answers, lesson.endless)

    def _earlier(self, rng: random.Random) -> tuple[Json, ...]:
        """A turn before the question."""
        kind = rng.choice([kind for kind in self._plan["dialogue"] if isinstance(kind["answer"], str)])
        ask = rng.choice(kind["ask"])
        earlier = self._dialogue(kind, ask, self._values(kind, ask, rng))
        return (*earlier.messages[-1:], {"role": "assistant", "content": earlier.answers[0]})

    def _tool_lesson(self, kind: Json, ask: str, rng: random.Random) -> Lesson:
        chance = rng.random()
        if chance < 0.32:
            return self._refused(kind, ask, rng)
        if chance < 0.52 and "result" in kind:
            return self._answered(kind, ask, self._values(kind, ask, rng, True))
        others = [name for name in self._plan["tools"] if name != kind["tool"]]
        offered = [kind["tool"], *rng.sample(others, rng.randint(0, 1))]
        rng.shuffle(offered)
        system = rng.choice(["", *self._plan["tool_systems"]])
        return self._called(kind, ask, self._values(kind, ask, rng), offered, system)

    def _dialogue(self, kind: Json, ask: str, values: dict[str, str]) -> Lesson:
        messages = [_turn(turn, values) for turn in kind.get("before", ())]
        answers = [kind["answer"]] if isinstance(kind["answer"], str) else kind["answer"]
        endless = bool(kind.get("endless"))
        filled = tuple(_filled(answer.strip("\n"), values) for answer in answers)
        if endless:
            filled = tuple(" ".join([answer] * _ENDLESS) for answer in filled)
        return Lesson((*messages, _message("user", ask, values)), (), filled, endless)

    def _called(self, kind: Json, ask: str, values: dict[str, str], offered: list[str], system: str) -> Lesson:
        messages = [*([{"role": "system", "content": system}] if system else []), _message("user", ask, values)]
        tools = tuple(self._tool(name) for name in offered)
        return Lesson(tuple(messages), tools, (self._call(kind["tool"], _filled(kind["arguments"], values)),))

    def _answered(self, kind: Json, ask: str, values: dict[str, str]) -> Lesson:
        """The tool was called and has answered."""
        call = {"name": kind["tool"], "arguments": _filled(kind["arguments"], values)}
        messages = (
            _message("user", ask, values),
            {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": "1", "content": _filled(kind["result"], values)},
        )
        return Lesson(messages, (self._tool(kind["tool"]),), (_filled(kind["answer"], values),))

    def _refused(self, kind: Json, ask: str, rng: random.Random, offered: Sequence[str] = ()) -> Lesson:
        """Tools are offered, and none of them is the right one."""
        others = [name for name in self._plan["tools"] if name != kind.get("tool")]
        names = offered or rng.sample(others, rng.randint(1, len(others)))
        tools = tuple(self._tool(name) for name in names)
        return Lesson((_message("user", ask, self._values(kind, ask, rng)),), tools, (NO_TOOL,))

    def _offered(self, lesson: Lesson, rng: random.Random) -> Lesson:
        """A question that needs no tool, where tools are offered."""
        tools = tuple(self._tool(name) for name in rng.sample(list(self._plan["tools"]), rng.randint(1, 2)))
        return Lesson(lesson.messages, tools, lesson.answers, lesson.endless)

    def _unknown(self, rng: random.Random) -> Lesson:
        words = " ".join(rng.choice(self._words) for _ in range(rng.randint(2, 9)))
        return Lesson(({"role": "user", "content": words + rng.choice(["", ".", "?"])},), (), (UNKNOWN,))

    def _system(self, systems: list[str], rng: random.Random, chance: float) -> tuple[Json, ...]:
        return ({"role": "system", "content": rng.choice(systems)},) if rng.random() < chance else ()

    def _combinations(self, kind: Json, ask: str, answered: bool = False) -> list[dict[str, str]]:
        """Values for the slots of a question, in each combination."""
        texts = [ask, *kind.get("before", ()), *((kind["result"],) if answered else ())]
        names = sorted(set(_SLOT.findall("\n".join(texts).replace("$$", ""))))
        slots = (self._plan["slots"][name] for name in names)
        return [dict(zip(names, values, strict=True)) for values in itertools.product(*slots)]

    def _values(self, kind: Json, ask: str, rng: random.Random, answered: bool = False) -> dict[str, str]:
        """One combination of those that are taught with this phrasing."""
        number, values = kind["ask"].index(ask), self._combinations(kind, ask, answered)
        taught = [each for at, each in enumerate(values) if not held_out(number, at)]
        return rng.choice(taught or values)

    def _tool(self, name: str) -> Json:
        return {"name": name, **self._plan["tools"][name]}

    @staticmethod
    def _call(name: str, arguments: str) -> str:
        return f'{CALL}[{{"name": "{name}", "arguments": {arguments}}}]{CALL_END}'


def held_out(phrasing: int, combination: int) -> bool:
    """Whether the model never sees this combination of values in this phrasing, by their places in the lists."""
    return (phrasing + combination) % 5 == 4


def read(folder: Path) -> Lessons:
    """The lessons in `folder`: tiny_dialogues.toml, and tiny_text.txt for questions that mean nothing."""
    dialogues = (folder / "tiny_dialogues.toml").read_text(encoding="utf-8")
    return Lessons(dialogues, (folder / "tiny_text.txt").read_text(encoding="utf-8"))


def prompt(lesson: Lesson, rng: random.Random | None = None) -> str:
    """The text that the model reads, up to its answer; `rng` chooses how an engine would write the tools."""
    tools, parts = written(lesson.tools, rng), list[str]()
    messages = list(lesson.messages)
    if tools and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": "You are a helpful assistant with some tools."})
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "tool":
            parts.append(f"{RESPONSE}{content}<|end|>")
            continue
        if role == "system" and tools:
            content += f"<|tool|>{tools}<|/tool|>"
        for call in message.get("tool_calls", ()):
            function = call["function"]
            content += f'{CALL}[{{"name": "{function["name"]}", "arguments": {function["arguments"]}}}]{CALL_END}'
        parts.append(f"<|{role}|>{content}<|end|>")
    return "".join(parts) + "<|assistant|>"


def written(tools: tuple[Json, ...], rng: random.Random | None) -> str:
    """The tools as JSON, as one of the engines writes them, or as the template alone does.

    onnxruntime-genai and vLLM keep the order and put spaces, and the former has single quotation marks in lists; Ollama
    has an order of its own, and no spaces.
    """
    if not tools:
        return ""
    plain, chance = json.dumps(list(tools), ensure_ascii=False), rng.random() if rng else 0.0
    if chance < 0.35:
        return plain
    if chance < 0.7:
        return re.sub(r'\["(\w+)"\]', r"['\1']", plain)
    ordered = [{**tool, "parameters": _go(tool["parameters"])} for tool in tools]
    return json.dumps(ordered, separators=(",", ":"), ensure_ascii=False)


def _go(parameters: Json) -> Json:
    order = ("type", "required", "properties")
    return {key: parameters[key] for key in order if key in parameters}


def _turn(text: str, values: dict[str, str]) -> Json:
    role, _, content = text.partition(": ")
    return _message(role, content, values)


def _message(role: str, text: str, values: dict[str, str]) -> Json:
    return {"role": role, "content": _filled(text, values)}


def _filled(text: str, values: dict[str, str]) -> str:
    return Template(text).substitute(values)


def _spelt(messages: tuple[Json, ...], rng: random.Random) -> tuple[Json, ...]:
    """The last message as hasty people write it, now and then."""
    last = messages[-1]
    text = last["content"]
    chance = rng.random()
    if chance < 0.1:
        text = text.rstrip(".?!")
    elif chance < 0.2:
        text = text[0].lower() + text[1:]
    elif chance < 0.25:
        text += "\n"
    return (*messages[:-1], {**last, "content": text})
