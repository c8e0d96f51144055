"""What a converted model answers in the converter's own onnxruntime-genai."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.convert.environment import Converter

GENERATE = """
import json, sys
import onnxruntime_genai as og
folder, requests = sys.argv[1], json.loads(sys.argv[2])
model = og.Model(folder)
tokenizer = og.Tokenizer(model)
template = open(folder + "/chat_template.jinja").read()
for prompt, tokens, sampled in requests:
    text = tokenizer.apply_chat_template(
        json.dumps([{"role": "user", "content": prompt}]), template_str=template, add_generation_prompt=True)
    ids = tokenizer.encode(text)
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=len(ids) + tokens, do_sample=sampled, temperature=0.8, top_p=0.95)
    generator = og.Generator(model, parameters)
    generator.append_tokens(ids)
    made = []
    while not generator.is_done():
        generator.generate_next_token()
        made.append(int(generator.get_next_tokens()[0]))
    print(json.dumps({"rendered": text, "count": len(made), "text": tokenizer.decode(made)}))
"""


def generate(converter: Converter, folder: Path, *requests: tuple[str, int, bool]) -> list[dict[str, Any]]:
    """What the model in `folder` answers to each (prompt, tokens, sampled)."""
    command = [converter.python, "-I", "-c", GENERATE, folder, json.dumps(requests)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines()]
