"""Convert a checkpoint folder to one GGUF file with llama.cpp's own converter.

Runs inside the converter environment: `python -I convert_gguf.py '{"tools": …, "input": …, "output": …, "type": …}'`.
`tools` is the folder of llama.cpp's sources, `type` one of q4_0, q5_1, q8_0 or bf16. No network, and nothing that came
with the checkpoint is executed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ARCHITECTURE = "Phi3ForCausalLM"


def refuse_remote_code() -> None:
    """llama.cpp's converter asks for code of the checkpoint's own; this makes it do without, whatever it asks for."""
    import transformers

    for kind in (transformers.AutoTokenizer, transformers.AutoConfig):
        original = kind.from_pretrained

        def plain(*args: Any, _original: Any = original, **options: Any) -> Any:
            return _original(*args, **{**options, "trust_remote_code": False})

        kind.from_pretrained = plain


def converter(arguments: dict[str, Any]) -> Any:
    """llama.cpp's class for Phi-3 and Phi-4, with our choice of a type for each tensor."""
    import copy_order  # type: ignore[import-not-found]
    import gguf  # type: ignore[import-not-found, unused-ignore]
    import q6k  # type: ignore[import-not-found]
    from conversion import get_model_class  # type: ignore[import-not-found]

    gguf.quants.Q6_K.quantize_blocks = classmethod(q6k.quantize_blocks)
    upstream: Any = get_model_class(ARCHITECTURE)
    kind = arguments["type"].upper()
    wanted = None if kind == "BF16" else getattr(gguf.GGMLQuantizationType, kind)

    class Phi(upstream):  # type: ignore[misc]
        model_arch = upstream.model_arch

        def tensor_force_quant(self, name: str, new_name: str, bid: int | None, n_dims: int) -> Any:
            """The embedding is the output matrix as well: six bits, as llama-quantize gives it."""
            if wanted is None or n_dims < 2:
                return super().tensor_force_quant(name, new_name, bid, n_dims)
            finer = new_name.startswith("token_embd") and kind != "Q8_0"
            return gguf.GGMLQuantizationType.Q6_K if finer else wanted

        def get_vocab_base_pre(self, tokenizer: Any) -> str:
            """llama.cpp knows published tokenizers by a hash; one of our own is named by the caller."""
            named: str = arguments["pretokenizer"]
            return named or super().get_vocab_base_pre(tokenizer)

        def prepare_metadata(self, vocab_only: bool) -> None:
            """The last step before the file is written."""
            super().prepare_metadata(vocab_only)
            copy_order.arrange(self.gguf_writer)

    return Phi(
        Path(arguments["input"]),
        getattr(gguf.LlamaFileType, f"MOSTLY_{kind}"),
        Path(arguments["output"]),
        model_name=arguments["name"],
    )


def check(arguments: dict[str, Any]) -> None:
    """Exit unless the file has the rotary dimensions of the checkpoint: with a wrong number a model loads and lies."""
    import gguf  # type: ignore[import-not-found, unused-ignore]

    config = json.loads((Path(arguments["input"]) / "config.json").read_text(encoding="utf-8"))
    head = config["hidden_size"] // config["num_attention_heads"]
    needed = int(head * config.get("partial_rotary_factor", 1.0))
    reader = gguf.GGUFReader(arguments["output"])
    field = reader.get_field("phi3.rope.dimension_count")
    found = int(field.contents()) if field else 0
    if found != needed:
        sys.exit(f"the file has {found} rotary dimensions, the checkpoint {needed}")
    lengths = {int(tensor.shape[0]) for tensor in reader.tensors if tensor.name.startswith("rope_factors")}
    if lengths != {needed // 2}:
        sys.exit(f"the file has rope factors for {sorted(lengths)} angles, the checkpoint for {needed // 2}")


def main(arguments: dict[str, Any]) -> None:
    """Write the file and look at it once more."""
    tools = Path(arguments["tools"])
    # -I leaves out this script's own folder.
    sys.path[:0] = [str(tools), str(tools / "gguf-py"), str(Path(__file__).parent)]
    refuse_remote_code()
    import torch

    with torch.inference_mode():
        converter(arguments).write()
    check(arguments)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
