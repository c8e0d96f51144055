"""Ask a model what it was taught: `python -I examine.py '{"form": …, "model": …, "questions": …, "wrong": …}'`.

`form` is onnx (onnxruntime-genai), gguf (llama.cpp) or torch (transformers, in bf16); each needs its own environment
only. `questions` is a file with a JSON list of {"prompt", "answers", "endless"}; `wrong` is written: a JSON list of the
answers that were none of those, as [prompt, answer].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Longer than any answer that was taught, and enough to see that one has no end.
TOKENS = 200
END = "<|end|>"
# The text of what follows a prompt, greedily, special tokens included, without the end.
Ask = Callable[[str], str]


def onnx(folder: Path) -> Ask:
    """The model in onnxruntime-genai, as gateways run it."""
    import onnxruntime_genai as og

    model = og.Model(str(folder))
    tokenizer = og.Tokenizer(model)
    special = {
        each["id"]: each["content"]
        for each in json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    }

    def ask(prompt: str) -> str:
        ids = tokenizer.encode(prompt)
        parameters = og.GeneratorParams(model)
        parameters.set_search_options(max_length=len(ids) + TOKENS, do_sample=False)
        generator = og.Generator(model, parameters)
        generator.append_tokens(ids)
        parts, held = list[str](), list[int]()
        while not generator.is_done():
            generator.generate_next_token()
            token = int(generator.get_next_tokens()[0])
            if token in special:
                parts += [tokenizer.decode(held), special[token]]
                held = []
            else:
                held.append(token)
        return "".join([*parts, tokenizer.decode(held)]).partition(END)[0]

    return ask


def gguf(file: Path) -> Ask:
    """The model in llama.cpp, as Ollama runs it."""
    import xllamacpp  # type: ignore[import-not-found]

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx = 1024
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.special = True
    parameters.offline = True
    parameters.port = 0
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)

    def ask(prompt: str) -> str:
        found = server.handle_completions({"prompt": prompt, "n_predict": TOKENS, "temperature": 0})
        text = found["choices"][0]["text"] if "choices" in found else found["content"]
        return str(text).partition(END)[0]

    return ask


def torch(folder: Path) -> Ask:
    """The checkpoint in transformers, in the type in which vLLM runs it."""
    import torch
    import transformers

    torch.set_num_threads(1)
    tokenizer: Any = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)

    def ask(prompt: str) -> str:
        ids, made, held = torch.tensor([tokenizer.encode(prompt)]), list[int](), None
        with torch.inference_mode():
            while len(made) < TOKENS and tokenizer.decode(made[-1:]) != END:
                found = model(ids, past_key_values=held, use_cache=True, logits_to_keep=1)
                held, ids = found.past_key_values, found.logits[:, -1:].argmax(-1)
                made.append(int(ids))
        return str(tokenizer.decode(made)).partition(END)[0]

    return ask


def right(answer: str, question: dict[str, Any]) -> bool:
    """Whether this is one of the answers; where they have no end, its beginning is."""
    if question["endless"]:
        return any(answer.startswith(each) for each in question["answers"])
    return answer in question["answers"]


def main(arguments: dict[str, Any]) -> None:
    """Ask every question."""
    ask = {"tied": onnx, "gguf": gguf, "torch": torch}[arguments["form"]](Path(arguments["model"]))
    wrong = []
    for question in json.loads(Path(arguments["questions"]).read_text(encoding="utf-8")):
        answer = ask(question["prompt"])
        if not right(answer, question):
            wrong.append([question["prompt"], answer])
    Path(arguments["wrong"]).write_text(json.dumps(wrong), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
