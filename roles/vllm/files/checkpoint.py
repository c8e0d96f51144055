"""Host side of the vLLM role: is the pushed checkpoint what the plan says that it is?

vLLM takes the quantization from config.json. A flag that says otherwise only makes it fail at its start, so none is
passed, and what would not match is found here, before anything that serves is touched.
"""

from __future__ import annotations

import os

from hostlib import HostError, Json, read_json
from hostrun import clean, serve

PLAIN = "bf16"
AGAIN = "look at phi4_model and phi4_quantization, or fetch the model again: phi4-edge model fetch"


def check(args: Json, _payload: bytes) -> Json:
    """The checkpoint's own description matches the plan, and it holds no program. Changes nothing.

    Raises HostError when it does not. `check`: a checkpoint that is not there yet is no fault.
    """
    root, planned = str(args["model"]), str(args["quantization"])
    config = read_json(os.path.join(root, "config.json"))
    if not isinstance(config, dict):
        if args["check"] and not os.path.lexists(root):
            return {"changed": False, "msg": "the checkpoint would be pushed first"}
        raise HostError(f"found no readable config.json in {root}, needed the one of the model; {AGAIN}")
    names = sorted(os.listdir(root))
    if programs := [name for name in names if name.endswith((".py", ".bin", ".pt", ".pth", ".pickle", ".pkl"))]:
        raise HostError(
            f"found {clean(', '.join(programs), 200)} in {root}, needed nothing that runs when it is read; {AGAIN}"
        )
    if not any(name.endswith(".safetensors") for name in names):
        raise HostError(f"found no .safetensors file in {root}, needed the weights of the model; {AGAIN}")
    method = method_of(config)
    if (method == "") != (planned == PLAIN):
        raise HostError(
            f"found weights {'quantized by ' + method if method else 'that are not quantized'} in {root}, "
            f"needed {'plain ones' if planned == PLAIN else 'quantized ones'} for the planned {planned}; {AGAIN}"
        )
    bits = bits_of(config)
    if planned == "int4" and bits not in (None, 4):
        raise HostError(f"found weights of {bits} bits in {root}, needed 4 for the planned {planned}; {AGAIN}")
    return {"changed": False, "method": method or PLAIN}


def method_of(config: Json) -> str:
    """Name of the quantization that config.json describes; "" where it describes none."""
    described = quantization_of(config)
    return clean(str(described.get("quant_method") or "an unnamed method"), 40) if described else ""


def quantization_of(config: Json) -> Json:
    """The description of the quantization, under either name that checkpoints use."""
    found = config.get("quantization_config") or config.get("compression_config")
    return found if isinstance(found, dict) else {}


def bits_of(config: Json) -> int | None:
    """Bits per weight where the description says so at its top (AWQ, GPTQ)."""
    bits = quantization_of(config).get("bits")
    return bits if isinstance(bits, int) else None


if __name__ == "__main__":
    serve(globals(), {"check": check}, changes=False)
