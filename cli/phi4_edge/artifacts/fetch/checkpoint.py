"""Whether the files of a checkpoint are the catalog's model, in the quantization that its name says, and complete."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.fetch.model import ARCHITECTURE, REQUIRED
from phi4_edge.core.catalog.model import Catalog, Variant
from phi4_edge.core.text import clean
from phi4_edge.errors import ArtifactError

PLAIN = "bf16"
BITS = 4
INDEX = "model.safetensors.index.json"
# The catalog's sizes of weights are what plans count with; scales and the like may differ by this.
TOLERANCE = 1.05
_LONGEST_HEADER = 100_000_000


def check(folder: Path, names: Sequence[str], catalog: Catalog, model: str, variant: Variant) -> dict[str, Any]:
    """How the weights are quantized, as config.json says it: {"quantization": method, "bits": number or None}.

    Raises ArtifactError, naming what was found and needed, when the files are not `variant` of `model`.
    """
    weights = [name for name in names if name.endswith(".safetensors")]
    if lacking := [name for name in REQUIRED if name not in names] or ([] if weights else ["*.safetensors"]):
        raise ArtifactError(f"{folder} lacks {', '.join(lacking)}; needed is the whole checkpoint of a model")
    config = _config(folder / "config.json")
    _require_shape(config, catalog, model)
    found = _quantization(config, variant.quantization)
    for name in weights:
        _require_whole(folder / name)
    _require_parts(folder, weights)
    size, most = sum((folder / name).stat().st_size for name in weights), int(variant.weights * TOLERANCE)
    if size > most:
        raise ArtifactError(
            f"found weights of {size / 1e9:.2f} GB in {folder}, needed at most {most / 1e9:.2f} GB: "
            f"plans count with {variant.weights / 1e9:.2f} GB for {variant.quantization}"
        )
    return found


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read as JSON ({error})") from error
    found = config.get("architectures") if isinstance(config, dict) else None
    if found != [ARCHITECTURE]:
        raise ArtifactError(f"{path} says architectures {_short(found)}, needed [{ARCHITECTURE!r}]")
    return dict(config)


def _require_shape(config: Mapping[str, Any], catalog: Catalog, model: str) -> None:
    """The model's own shape; a stand-in, which is planned as another model, may be smaller in everything."""
    shape, exact = catalog.shape(model), catalog.models[model].architecture is not None
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    width = hidden // heads if isinstance(hidden, int) and isinstance(heads, int) and heads > 0 else None
    wanted = {
        "num_hidden_layers": (config.get("num_hidden_layers"), shape.layers),
        "num_key_value_heads": (config.get("num_key_value_heads"), shape.kv_heads),
        "hidden_size / num_attention_heads": (config.get("head_dim") or width, shape.head_dim),
        "vocab_size": (config.get("vocab_size"), shape.vocabulary),
    }
    for name, (found, needed) in wanted.items():
        good = isinstance(found, int) and (found == needed if exact else 0 < found <= needed)
        if not good:
            limit = "" if exact else "at most "
            raise ArtifactError(
                f"config.json says {name} {_short(found)}, needed {limit}{needed}: this is not {model} as planned"
            )


def _quantization(config: Mapping[str, Any], wanted: str) -> dict[str, Any]:
    """Method and bits; refused where config.json and the artifact's name differ."""
    described = config.get("quantization_config") or config.get("compression_config")
    if wanted == PLAIN:
        if described:
            raise ArtifactError(
                f"config.json describes quantized weights ({_method(described)}), needed plain ones for {PLAIN}; "
                "import it as safetensors-int4 if it has 4 bits"
            )
        return {"quantization": PLAIN, "bits": None}
    if not isinstance(described, dict) or not described:
        raise ArtifactError(
            f"config.json has no quantization_config, needed one for {wanted}: vLLM would read plain weights"
        )
    bits = _bits(described)
    if bits not in (None, BITS):
        raise ArtifactError(f"config.json says weights of {_short(bits)} bits, needed {BITS} for {wanted}")
    return {"quantization": _method(described), "bits": bits}


def _method(described: Any) -> str:
    method = described.get("quant_method") if isinstance(described, dict) else None
    return clean(str(method or "an unnamed method"), 40)


def _bits(described: Mapping[str, Any]) -> Any:
    """Bits per weight: at the top (AWQ, GPTQ), or the most that a group of compressed-tensors has; else None."""
    if "bits" in described:
        return described["bits"]
    groups = described.get("config_groups")
    inner = (
        [group.get("weights") for group in groups.values() if isinstance(group, dict)]
        if isinstance(groups, dict)
        else []
    )
    found = [one["num_bits"] for one in inner if isinstance(one, dict) and isinstance(one.get("num_bits"), int)]
    return max(found, default=None)


def _require_whole(path: Path) -> None:
    """A safetensors file whose header and size agree: not cut off, not a pointer to what lies elsewhere."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == len(b"8 bytes.") else 0
        raw = stream.read(length) if 0 < length <= min(size, _LONGEST_HEADER) else b""
    try:
        header = json.loads(raw)
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        needed = 8 + length + max(ends)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ArtifactError(
            f"{path} is not a safetensors file ({size} bytes); a file of Git LFS is fetched with `git lfs pull`"
        ) from error
    if size != needed:
        raise ArtifactError(f"{path} has {size} bytes, needed {needed} by its own header: copy it again")


def _require_parts(folder: Path, weights: Sequence[str]) -> None:
    """Every file that the index of the weights names is there."""
    if not (folder / INDEX).is_file():
        return
    try:
        wanted = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{folder / INDEX} is not an index of weights ({error})") from error
    if lost := sorted(str(name) for name in wanted if name not in weights):
        raise ArtifactError(f"{folder} lacks {_short(', '.join(lost))}, which {INDEX} names")


def _short(value: object) -> str:
    return clean(repr(value) if not isinstance(value, str) else value, 80)
