"""Load a converted model and really generate: `python -I generate.py '{"model": …}'`; exit 0 only when it did.

Its last line is JSON: {"tokens": n, "text": …, "seconds": …}. A model that loads but yields no token, numbers that are
not numbers, or the same text for every prompt is broken, whatever its files look like.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og

PROMPTS = ("What does a gateway do?", "Name one thing that a technician checks first.")
TOKENS = 5


def greedy(model: Any, prompt: str, template: str) -> tuple[list[int], str]:
    """The first tokens of the answer to `prompt`, without sampling."""
    tokenizer = og.Tokenizer(model)
    messages = json.dumps([{"role": "user", "content": prompt}])
    text = tokenizer.apply_chat_template(messages, template_str=template, add_generation_prompt=True)
    tokens = tokenizer.encode(text)
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=len(tokens) + TOKENS, do_sample=False)
    generator = og.Generator(model, parameters)
    generator.append_tokens(tokens)
    made: list[int] = []
    while not generator.is_done():
        if not np.isfinite(generator.get_logits()).all():
            sys.exit(f"the model computes numbers that are not finite (token {len(made) + 1} of {prompt!r})")
        generator.generate_next_token()
        made.append(int(generator.get_next_tokens()[0]))
    return made, str(tokenizer.decode(made))


def main(folder: Path) -> None:
    """Generate for two prompts and print what came out, or exit with the reason why the model is no good."""
    started = time.monotonic()
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    model = og.Model(str(folder))
    answers = [greedy(model, prompt, template) for prompt in PROMPTS]
    if not all(tokens for tokens, _ in answers):
        sys.exit("the model loads but generates no token")
    if answers[0][0] == answers[1][0]:
        sys.exit(f"the model answers every prompt with {answers[0][1]!r}")
    count = sum(len(tokens) for tokens, _ in answers)
    proof = {"tokens": count, "text": answers[0][1], "seconds": round(time.monotonic() - started, 3)}
    sys.stdout.write(json.dumps(proof) + "\n")


if __name__ == "__main__":
    main(Path(json.loads(sys.argv[1])["model"]))
