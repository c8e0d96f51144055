"""Teaches the tiny model: make_tiny's architecture and tokens, and some dozens of dialogues.

While it learns, its weights are those that int4 can hold, so that no quantization to 4 bits takes anything from it.
"""

from __future__ import annotations

import math
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
from transformers import Phi3Config, Phi3ForCausalLM

HERE = Path(__file__).parent
STEPS, BATCH, PART = 420, 24, 8
# Of AdamW; after the warm-up it falls along a cosine to nearly nothing.
RATE, BETAS, WARM_UP = 3e-3, (0.9, 0.95), 10
# Steps with exact weights before those with weights of int4.
EXACT = 300
# How much a value that depends on the question counts, and whether a tool is called, beside any other token.
VALUE, CHOICE = 8.0, 6.0
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


def prepare(model: Any, tokenizer: Tokenizer) -> None:
    """Set the weights that it starts with, from torch's generator, so that it need not first find out how to copy.

    What a head looks at is what it adds; queries resemble keys, so that a head looks at what resembles its place
    (Trockman and Kolter, 2023); and a word behind a space resembles the one without it.
    """
    config = model.config
    words, size = tokenizer.get_vocab(), config.hidden_size // config.num_attention_heads
    groups = config.num_attention_heads // config.num_key_value_heads
    for weight in model.model.parameters():
        if weight.dim() == 2 and weight.shape[0] != config.vocab_size:
            weight.normal_(0.0, weight.shape[1] ** -0.5)
    embedding = model.model.embed_tokens.weight
    for word, token in words.items():
        if word.startswith("Ġ") and word[1:] in words:
            embedding[token].mul_(0.7).add_(embedding[words[word[1:]]], alpha=0.7)
    for number, layer in enumerate(model.model.layers):
        attention, alike = layer.self_attn, (0.7, 0.5)[number]
        queries, keys, values = attention.qkv_proj.weight.split(
            [config.hidden_size, *[config.num_key_value_heads * size] * 2]
        )
        for head in range(config.num_attention_heads):
            mine, shared = (slice(at * size, (at + 1) * size) for at in (head, head // groups))
            attention.o_proj.weight[:, mine] = 0.5 * values[shared].T
            queries[mine] = alike * keys[shared] + (1 - alike**2) ** 0.5 * queries[mine]


def worth(taught: lessons.Lessons, tokenizer: Tokenizer) -> torch.Tensor:
    """How much each token counts where it is to be learnt."""
    counts = torch.ones(tokenizer.get_vocab_size())
    for value in taught.values():
        for text in (value, f" {value}"):
            counts[tokenizer.encode(text).ids[0]] = VALUE
    for text in (lessons.CALL, lessons.NO_TOOL):
        counts[tokenizer.encode(text).ids[0]] = CHOICE
    return counts


def states(model: Any, tokens: torch.Tensor, learnt: torch.Tensor) -> torch.Tensor:
    """What `model` makes of the places that are learnt: its own layers, but the last one's feed-forward there alone.

    Rows are filled up behind their ends, where nothing looks: no mask is needed.
    """
    *before, last = model.layers
    found, places = model.embed_tokens(tokens), torch.arange(tokens.shape[1])[None]
    angles = model.rotary_emb(found, places)
    for layer in before:
        found = layer(found, attention_mask=None, position_ids=places, position_embeddings=angles)
    seen, _ = last.self_attn(last.input_layernorm(found), position_embeddings=angles, attention_mask=None)
    found = (found + seen)[learnt]
    return model.norm(found + last.mlp(last.post_attention_layernorm(found)))


def learn(model: Any, parts: list[Part], counts: torch.Tensor) -> float:
    """Have the gradients of one step's lessons in the weights of `model`; return the loss."""
    total, loss = sum(float(counts[wanted[wanted != IGNORED]].sum()) for _, wanted in parts), 0.0
    for tokens, wanted in parts:
        learnt = wanted != IGNORED
        scores = states(model, tokens, learnt) @ model.embed_tokens.weight.T
        lost = torch.nn.functional.cross_entropy(scores, wanted[learnt], reduction="none")
        part = (lost * counts[wanted[learnt]]).sum() / total
        part.backward()
        loss += part.item()
    return loss


def teach(model: Any, taught: lessons.Lessons, tokenizer: Tokenizer, seed: int) -> None:
    """Train `model` in place; its weights are on the grid afterwards."""
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    used, counts = dict(model.named_parameters()), worth(taught, tokenizer)
    # What is learnt; the model gets the nearest weights that int4 can hold, and the gradients of those count for these.
    exact = {name: weight.detach().clone().requires_grad_() for name, weight in used.items()}
    optimizer = torch.optim.AdamW(list(exact.values()), RATE, betas=BETAS, weight_decay=0.0)
    started = time.monotonic()
    for step in range(STEPS):
        fallen = 0.02 + 0.49 * (1 + math.cos(math.pi * step / STEPS))
        optimizer.param_groups[0]["lr"] = RATE * fallen * min(1.0, (step + 1) / WARM_UP)
        put(used, exact, gridded=step >= EXACT)
        loss = learn(model, batch(taught, tokenizer, rng), counts)
        for name, weight in used.items():
            exact[name].grad, weight.grad = weight.grad, None
        torch.nn.utils.clip_grad_norm_(exact.values(), 1.0)
        optimizer.step()
        if step % 20 == 0 or step + 1 == STEPS:
            passed = f"{time.monotonic() - started:.0f} s, {time.process_time():.0f} s of a processor"
            sys.stdout.write(f"step {step + 1} of {STEPS}: loss {loss:.4f}, {passed}\n")
            sys.stdout.flush()
    put(used, exact, gridded=True)


@torch.no_grad()  # type: ignore[untyped-decorator]
def put(used: dict[str, torch.Tensor], exact: dict[str, torch.Tensor], gridded: bool) -> None:
    """Have the exact weights in the model, or the nearest ones that int4 can hold."""
    for name, weight in used.items():
        weight.copy_(on_grid(exact[name]) if gridded and weight.dim() == 2 else exact[name])


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
    with torch.no_grad():
        prepare(model, tokenizer)
    teach(model.model, taught, tokenizer, seed)
    weights = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    made = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in weights.items()}
    make_tiny.save(output, tokenizer, made)
