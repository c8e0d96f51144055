"""Make the tiny stand-in model: Phi-4-mini's architecture and tokens, random weights from a fixed seed.

Runs inside the converter environment, never in the CLI's own process: `python -I make_tiny.py '{"output": …}'`.
Real are the architecture, the tensor names, the tokenizer's kind, the special tokens, the chat template and the layout
of the folder. Left out is any knowledge: its text is word pieces that depend on the prompt, and it never stops early.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

# The trainer's merge order must not depend on the number of cores.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCABULARY = 2000
HIDDEN, LAYERS, HEADS, KV_HEADS, FFN = 256, 2, 4, 2, 512
HEAD_DIM = HIDDEN // HEADS
# Half the rotary dimension must be a multiple of 8 for the fused rotary kernel: 0.75 of 64, halved, is 24.
PARTIAL_ROTARY = 0.75
# Phi-4-mini switches to the long factors above 4096 too; a maximum of 8192 keeps the cached angles small.
CONTEXT, LONG_CONTEXT = 4096, 8192

# The special tokens of Phi-4-mini, in the order of their ids.
SPECIAL = (
    "<|endoftext|>",
    "<|assistant|>",
    "<|end|>",
    "<|user|>",
    "<|system|>",
    "<|tool|>",
    "<|/tool|>",
    "<|tool_call|>",
    "<|/tool_call|>",
    "<|tool_response|>",
    "<|tag|>",
)
# Phi-4-mini-instruct's own template.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)


def train_tokenizer(text: str) -> Tokenizer:
    """A byte-level BPE of exactly VOCABULARY tokens, the special ones last, as in Phi-4."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        min_frequency=1,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise SystemExit(
            f"the tokenizer has {tokenizer.get_vocab_size()} tokens, not {VOCABULARY}: the text is too short"
        )
    return tokenizer


def model_config() -> dict[str, Any]:
    """config.json with the keys and nesting of Phi-4-mini-instruct's own."""
    angles = int(HEAD_DIM * PARTIAL_ROTARY) // 2
    return {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": VOCABULARY - len(SPECIAL),
        "eos_token_id": VOCABULARY - len(SPECIAL),
        "pad_token_id": VOCABULARY - len(SPECIAL),
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": FFN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": LONG_CONTEXT,
        "original_max_position_embeddings": CONTEXT,
        "partial_rotary_factor": PARTIAL_ROTARY,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0] * angles,
            "long_factor": [round(1.0 + 0.125 * i, 3) for i in range(angles)],
        },
        "rope_theta": 10000.0,
        "sliding_window": 262144,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": VOCABULARY,
    }


def row_scales(tokenizer: Tokenizer) -> torch.Tensor:
    """How loud each token's tied embedding row is: words are, single bytes and special tokens hardly are.

    A row's length is also the size of its logit. Quiet rows are never the largest logit, so greedy decoding neither
    stops early nor writes half a character; they stay above the epsilon of the first norm, so prompts of them count.
    """
    scales = torch.full((VOCABULARY,), 0.01)
    for piece, token in tokenizer.get_vocab().items():
        if piece in SPECIAL or "Ċ" in piece:
            continue
        letters = piece.removeprefix("Ġ")
        if letters.isascii() and letters.isalpha() and len(letters) > 2:
            scales[token] = 0.1 if piece.startswith("Ġ") else 0.06
    return scales


def weights(tokenizer: Tokenizer, seed: int) -> dict[str, torch.Tensor]:
    """Every tensor of the checkpoint, in bf16.

    What the layers add must outweigh the embedding in the residual stream: with tied embeddings the last token would
    otherwise be its own best successor, and every prompt would end in one repeated token.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(rows: int, columns: int, gain: float) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator) * (gain / math.sqrt(columns))

    tensors = {"model.embed_tokens.weight": torch.randn(VOCABULARY, HIDDEN, generator=generator)}
    tensors["model.embed_tokens.weight"] *= row_scales(tokenizer)[:, None]
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        tensors[name + "input_layernorm.weight"] = torch.ones(HIDDEN)
        tensors[name + "self_attn.qkv_proj.weight"] = normal((HEADS + 2 * KV_HEADS) * HEAD_DIM, HIDDEN, 1.6)
        tensors[name + "self_attn.o_proj.weight"] = normal(HIDDEN, HEADS * HEAD_DIM, 2.0)
        tensors[name + "post_attention_layernorm.weight"] = torch.ones(HIDDEN)
        tensors[name + "mlp.gate_up_proj.weight"] = normal(2 * FFN, HIDDEN, 1.5)
        tensors[name + "mlp.down_proj.weight"] = normal(HIDDEN, FFN, 2.0)
    tensors["model.norm.weight"] = torch.full((HIDDEN,), 1.5)
    return {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}


def write(output: Path, seed: int, text: str) -> None:
    """Write the checkpoint folder as a hub repository has it."""
    tokenizer = train_tokenizer(text)
    save(output, tokenizer, weights(tokenizer, seed))


def save(output: Path, tokenizer: Tokenizer, tensors: dict[str, torch.Tensor]) -> None:
    """Write these weights with tokenizer and settings as a hub repository has them."""
    output.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(output / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[0],
        "pad_token": SPECIAL[0],
        "unk_token": SPECIAL[0],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": LONG_CONTEXT,
        "chat_template": CHAT_TEMPLATE,
    }
    stops = [tokenizer.token_to_id("<|end|>"), tokenizer.token_to_id("<|endoftext|>")]
    documents = {
        "config.json": model_config(),
        "generation_config.json": {"bos_token_id": stops[1], "eos_token_id": stops, "pad_token_id": stops[1]},
        "tokenizer_config.json": tokenizer_config,
    }
    for name, document in documents.items():
        (output / name).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    write(
        Path(arguments["output"]),
        int(arguments["seed"]),
        Path(__file__).with_name("tiny_text.txt").read_text(encoding="utf-8"),
    )
