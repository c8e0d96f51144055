"""The engines, by name, in the order in which people are shown them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from phi4_edge.core.engines import ollama, onnx, vllm
from phi4_edge.core.engines.spec import Engine

_ALL = (onnx.ENGINE, ollama.ENGINE, vllm.ENGINE)
ENGINES: Mapping[str, Engine] = MappingProxyType({engine.name: engine for engine in _ALL})
