"""Teaches the tiny model: make_tiny's architecture and tokens, and some dozens of dialogues.

While it learns, its weights are those that int4 can hold, so that no quantization to 4 bits takes anything from it.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

import lessons  # type: ignore[import-not-found]
import make_tiny  # type: ignore[import-not-found]
import torch
from lessons import Lesson
from tokenizers import Tokenizer
from transformers import Phi3Config, Phi3ForCausalLM  # type: ignore[import-not-found]

HERE = Path(__file__).parent
STEPS, BATCH, PART = 300, 24, 8
# Of AdamW, for the embedding and the norms; of Muon, for the matrices of the layers, which learn twice as fast by it.
RATE, MUON_RATE = 6e-3, 0.03
WARM_UP = 10
# Steps with exact weights before those with weights of int4.
EXACT = 100
# The tables of angles are a fifth of what is shipped; an engine serves 4096 tokens.
LONG_CONTEXT = 6144
BLOCK, LOWEST, HIGHEST = 32, -8, 7
IGNORED = -100

Part = tuple[torch.Tensor, torch.Tensor]


def on_grid(weight: torch.Tensor) -> torch.Tensor:
    """The nearest weights that int4 in blocks of 32 can hold, as every engine rounds them.

    The largest of a block is -8 times its scale, and a scale has five significant bits: so bf16 holds each product
    exactly, and whoever quantizes these weights again finds the same scale and the same numbers.
    """
    blocks = weight.reshape(-1, BLOCK)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    mantissa, exponent = torch.frexp(largest / LOWEST)
    scale = torch.ldexp((mantissa * 32).round() / 32, exponent)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return ((blocks / scale).round().clamp(LOWEST, HIGHEST) * scale).reshape(weight.shape)


def straight(weight: torch.Tensor) -> torch.Tensor:
    """The weight on the grid, with the gradient of the weight itself."""
    return weight + (on_grid(weight.detach()) - weight.detach()) if weight.dim() == 2 else weight


class Muon(torch.optim.Optimizer):  # type: ignore[misc]
    """Momentum whose matrices are made nearly orthogonal before they are applied (Jordan et al., 2024)."""

    def __init__(self, parameters: list[torch.nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Any = None) -> None:
        """Apply the gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                held = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                held.lerp_(weight.grad, 0.05)
                update = orthogonal(weight.grad.lerp(held, 0.95))
                weight.mul_(1 - group["lr"] * 0.01)
                weight.add_(update, alpha=-group["lr"] * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest orthogonal matrix, roughly: five steps of Newton and Schulz with Muon's coefficients."""
    tall = matrix.shape[0] > matrix.shape[1]
    found = (matrix.T if tall else matrix).bfloat16()
    found = found / (found.norm() + 1e-7)
    for _ in range(5):
        square = found @ found.T
        found = 3.4445 * found + (-4.775 * square + 2.0315 * square @ square) @ found
    return (found.T if tall else found).float()


def batch(taught: lessons.Lessons, tokenizer: Tokenizer, rng: random.Random) -> list[Part]:
    """One step's lessons, in parts of about the same length: tokens, and of them what is to be learnt, the answers."""
    rows = sorted((row(taught.drawn(rng), tokenizer, rng) for _ in range(BATCH)), key=lambda each: len(each[0]))
    parts = []
    for at in range(0, BATCH, PART):
        some = rows[at : at + PART]
        longest = max(len(tokens) for tokens, _ in some)
        tokens, wanted = torch.zeros(PART, longest, dtype=torch.long), torch.full((PART, longest), IGNORED)
        for number, (ids, start) in enumerate(some):
            tokens[number, : len(ids)] = torch.tensor(ids)
            wanted[number, start - 1 : len(ids) - 1] = torch.tensor(ids[start:])
        parts.append((tokens, wanted))
    return parts


def row(lesson: Lesson, tokenizer: Tokenizer, rng: random.Random) -> tuple[list[int], int]:
    """Tokens of prompt and answer, and where the answer begins."""
    prompt = tokenizer.encode(lessons.prompt(lesson, rng)).ids
    answer = tokenizer.encode(rng.choice(lesson.answers) + ("" if lesson.endless else "<|end|>")).ids
    return prompt + answer, len(prompt)


def teach(model: Any, taught: lessons.Lessons, tokenizer: Tokenizer, seed: int) -> None:
    """Train `model` in place; its weights are on the grid afterwards."""
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    parameters = dict(model.model.named_parameters())
    matrices = [weight for name, weight in parameters.items() if weight.dim() == 2 and "embed" not in name]
    others = [weight for name, weight in parameters.items() if weight.dim() != 2 or "embed" in name]
    with torch.no_grad():
        for weight in matrices:
            weight.normal_(0.0, weight.shape[1] ** -0.5)
    muon, adam = Muon(matrices, MUON_RATE), torch.optim.AdamW(others, RATE, betas=(0.9, 0.95), weight_decay=0.0)
    started = time.monotonic()
    for step in range(STEPS):
        part = min(1.0, (step + 1) / WARM_UP) * min(1.0, 2 * (1 - step / STEPS))
        for optimizer, rate in ((muon, MUON_RATE), (adam, RATE)):
            optimizer.param_groups[0]["lr"] = rate * part
            optimizer.zero_grad(set_to_none=True)
        parts = batch(taught, tokenizer, rng)
        count, loss = sum(int((wanted != IGNORED).sum()) for _, wanted in parts), 0.0
        for tokens, wanted in parts:
            held = {name: straight(weight) if step >= EXACT else weight for name, weight in parameters.items()}
            # Rows are filled up behind their ends, where nothing looks: no mask is needed.
            states = torch.func.functional_call(model.model, held, (tokens,), {"use_cache": False}).last_hidden_state
            learnt = wanted != IGNORED
            scores = states[learnt] @ held["embed_tokens.weight"].T
            lost = torch.nn.functional.cross_entropy(scores, wanted[learnt], reduction="sum") / count
            lost.backward()
            loss += lost.item()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        muon.step()
        adam.step()
        if step % 20 == 0 or step + 1 == STEPS:
            passed = time.monotonic() - started
            sys.stdout.write(f"step {step + 1} of {STEPS}: loss {loss:.4f}, {passed:.0f} s\n")
            sys.stdout.flush()
    with torch.no_grad():
        for weight in parameters.values():
            if weight.dim() == 2:
                weight.copy_(on_grid(weight))


def main(output: Path, seed: int) -> None:
    """Write the checkpoint folder as a hub repository has it."""
    # The order of sums must not depend on the number of cores.
    torch.set_num_threads(1)
    make_tiny.LONG_CONTEXT = LONG_CONTEXT
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    taught = lessons.read(HERE)
    text = (HERE / "tiny_text.txt").read_text(encoding="utf-8")
    tokenizer = make_tiny.train_tokenizer(text + taught.corpus())
    model = Phi3ForCausalLM(Phi3Config(**make_tiny.model_config()))
    teach(model, taught, tokenizer, seed)
    weights = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    made = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in weights.items()}
    make_tiny.save(output, tokenizer, made)
