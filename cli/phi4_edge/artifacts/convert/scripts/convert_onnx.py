"""Convert a checkpoint folder to ONNX with onnxruntime-genai's model builder, in little memory.

Runs inside the converter environment: `python -I convert_onnx.py '{"input": …, "output": …}'`. No network, and nothing
that came with the checkpoint is executed.

Left to itself the builder loads the checkpoint, makes fp32 numbers of all of it, and only then quantizes: 24 GB for
Phi-4-mini. Here the checkpoint stays in its files, mapped, and each matrix is quantized when the builder comes to it, a
block of rows at a time, by the quantizer that it would use. What it writes is the same, byte for byte; then one change
is made to it, see `look_up_in_place`.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime_genai.models import builder
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

# Numbers that are quantized at a time: 16 MB in fp32; fewer and more of them take longer.
BLOCK = 1 << 22
# What the builder calls the models that it makes of Phi3ForCausalLM.
MODELS = ("Phi3MiniModel", "Phi3MiniLongRoPEModel")


@dataclass
class Quantized:
    """A matrix as a node of the graph reads it: the node, and its tensors by name."""

    node: onnx.NodeProto
    tensors: dict[str, Any]


def mapped(folder: Path) -> Any:
    """The model in `folder`; its weights are pages of the files, which the kernel may drop and read again."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    weights: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            weights |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    found = model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    missing = [name for name, weight in model.named_parameters() if weight.is_meta]
    if missing or found.unexpected_keys:
        named = ", ".join((missing or found.unexpected_keys)[:4])
        sys.exit(f"the checkpoint {'lacks' if missing else 'has more than the model:'} {named}")
    return model


class BlockByBlock(builder.Model):  # type: ignore[misc]
    """Goes before one of the builder's models: reads and quantizes the weights as said above."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.quantized: dict[str, Quantized] = {}
        super().__init__(*arguments, **options)

    def load_weights(self, input_path: str) -> Any:
        """In place of loading them."""
        return mapped(Path(input_path))

    def make_matmul_float(self, matmul: Any, name: str, root_input: str, **kwargs: Any) -> str:
        """The builder's own node, for now without its matrix; `to_nbits` gives it the quantized one."""
        made: str = super().make_matmul_float(matmul, name, root_input, **kwargs)
        weight = name[1:].replace("/", ".") + ".weight"
        self.model.graph.initializers.pop(weight).const_value = None
        self.quantized[name] = self.quantize(matmul.weight, name, weight)
        return made

    def quantize(self, matrix: Any, name: str, weight: str) -> Quantized:
        """`matrix`, of output x input numbers, for the node `name`: every row is quantized by itself."""
        rows = max(BLOCK // matrix.shape[1], 1)
        parts = [self.quantize_rows(part, name, weight) for part in matrix.split(rows)]
        names = list(parts[0].tensors)
        made = Quantized(parts[0].node, {key: np.concatenate([part.tensors[key] for part in parts]) for key in names})
        (count,) = (attribute for attribute in made.node.attribute if attribute.name == "N")
        count.i = matrix.shape[0]
        return made

    def quantize_rows(self, rows: Any, name: str, weight: str) -> Quantized:
        """The same of some rows, through a model that has nothing else."""
        node = onnx.helper.make_node("MatMul", ["input", weight], ["output"], name=name)
        numbers = onnx.numpy_helper.from_array(rows.to(torch.float32).T.contiguous().numpy(), weight)
        ends = [onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, None) for end in ("input", "output")]
        graph = onnx.helper.make_graph([node], "rows", ends[:1], ends[1:], [numbers])
        wanted = self.quant_attrs
        quantizer = MatMulNBitsQuantizer(
            onnx.helper.make_model(graph),
            bits=wanted["bits"],
            block_size=wanted["matmul_block_size"],
            is_symmetric=wanted["is_symmetric"],
            accuracy_level=wanted["accuracy_level"],
            op_types_to_quantize=("MatMul",),
            algo_config=self.make_algo_config(self.quantization_algo, {name: {"bits": wanted["bits"]}}),
        )
        with contextlib.redirect_stdout(io.StringIO()):  # k_quant shows how far it is, in each block anew
            quantizer.process()
        found = quantizer.model.model.graph
        # A copy: the node itself would keep the memory of all of that model.
        made = onnx.NodeProto()
        made.CopyFrom(found.node[0])
        return Quantized(made, {one.name: onnx.numpy_helper.to_array(one) for one in found.initializer})

    def to_nbits(self) -> Any:
        """In place of quantizing the finished model: its nodes become those of the quantized matrices."""
        for node in self.model.graph:
            if found := self.quantized.pop(node.name, None):
                self.replace(node, found)
            elif node.op_type == "If":  # the quantizer makes those anew, their branches in this order
                branches = sorted(node.attributes.values(), key=lambda branch: branch.name)
                node.attributes.clear()
                node.attributes.update({branch.name: branch for branch in branches})
        return self.model

    def replace(self, node: Any, found: Quantized) -> None:
        """Have `node` read the quantized matrix."""
        for name, tensor in found.tensors.items():
            self.make_initializer(tensor, name)
        names = list(found.node.input)[1:]
        node.name, node.op_type, node.domain = found.node.name, found.node.op_type, found.node.domain
        node.resize_inputs(1 + len(names))
        for at, name in enumerate(names, 1):
            node.replace_input_with(at, self.make_value(name))
        for attribute in found.node.attribute:
            node.attributes.add(ir.serde.deserialize_attribute(attribute))


def build(arguments: dict[str, Any]) -> None:
    """Do what the builder's command line does, in this process, so that one kill ends all of it."""
    # The quantizer has two lines for each block, in which those of a failure would be lost.
    logging.disable(logging.INFO)
    for name in MODELS:
        setattr(builder, name, type(name, (BlockByBlock, getattr(builder, name)), {}))
    options = [f"{name}={value}" for name, value in sorted(arguments["options"].items())]
    chosen = [arguments[name] for name in ("input", "output", "precision", "provider", "cache")]
    builder.create_model(None, *chosen, **builder.parse_extra_options(None, *chosen, options))


def look_up_in_place(path: Path) -> None:
    """Have the embedding read the output matrix where it lies in the file, row by row, when both are one matrix.

    The builder has it read a Reshape of the matrix, which onnxruntime computes as it loads and holds as a second copy.
    `tie.py` writes the same of the published export.
    """
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    looked_up = {node.input[0]: node for node in graph.node if node.op_type == "GatherBlockQuantized"}
    for reshape in [node for node in graph.node if node.op_type == "Reshape" and node.output[0] in looked_up]:
        rows = onnx.TensorProto()
        rows.CopyFrom(tensors[reshape.input[0]])
        rows.name, rows.dims[:] = "model.embed_tokens.weight_Q4", [rows.dims[0], rows.dims[1] * rows.dims[2]]
        looked_up[reshape.output[0]].input[0] = rows.name
        graph.initializer.append(rows)
        graph.node.remove(reshape)
        # The shape: onnxruntime warns of what nothing reads.
        if not any(reshape.input[1] in node.input for node in graph.node):
            graph.node.remove(next(node for node in graph.node if reshape.input[1] in node.output))
    onnx.save(model, path)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    build(given)
    look_up_in_place(Path(given["output"]) / "model.onnx")
