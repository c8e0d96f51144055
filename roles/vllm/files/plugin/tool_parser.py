"""vLLM plugin (--tool-parser-plugin): tool calls of Phi-4-mini, whole and streamed.

vLLM's own parser for this model loses every streamed answer as soon as a request names tools, and reads no array inside
arguments. Written against vLLM 0.32 and 0.33. What is a call is decided in tool_calls.py, which lies beside this file.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from vllm.entrypoints.generate.base.protocol import (
    DeltaFunctionCall,
    DeltaMessage,
    DeltaToolCall,
    ExtractedToolCallInformation,
    FunctionCall,
    ToolCall,
)
from vllm.renderers.chat_utils import make_tool_call_id
from vllm.tool_parsers.abstract_tool_parser import ToolParser, ToolParserManager

NAME = "phi4_edge"


def _beside(name: str) -> ModuleType:
    """The module `name` that lies beside this file; it is on no path, for vLLM loads this file by its own."""
    spec = importlib.util.spec_from_file_location(f"phi4_edge_{name}", Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(f"{name}.py does not lie beside {__file__}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tool_calls = _beside("tool_calls")


class Phi4EdgeToolParser(ToolParser):  # type: ignore[misc]
    """One answer of one request. Calls are sent whole: only at their end is it known that they are calls."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._flow = tool_calls.ToolCalls()
        self._sent = 0

    def adjust_request(self, request: Any) -> Any:
        """The tokens around a call are special ones, and must reach us."""
        request = super().adjust_request(request)
        if request.tools and request.tool_choice != "none":
            request.skip_special_tokens = False
        return request

    def extract_tool_calls(self, model_output: str, request: Any) -> ExtractedToolCallInformation:
        """The text around the calls of a whole answer, and the calls."""
        text, calls = tool_calls.parse(model_output)
        found = [
            ToolCall(
                id=make_tool_call_id(),
                type="function",
                function=FunctionCall(name=call.name, arguments=call.arguments),
            )
            for call in calls
        ]
        self.prev_tool_call_arr = [{"name": call.name, "arguments": call.arguments} for call in calls]
        return ExtractedToolCallInformation(tools_called=bool(found), tool_calls=found, content=text or None)

    def extract_tool_calls_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
        request: Any,
    ) -> DeltaMessage | None:
        """What is certain now. From the first call on vLLM is asked to announce the end, where the rest is sent."""
        self.engine_based_streaming = True
        return self._delta(self._flow.push(delta_text))

    def finish_streaming(self) -> DeltaMessage | None:
        """What was held until the end: text that looked like the beginning of a call."""
        return self._delta(self._flow.finish())

    def get_remaining_unstreamed_args(self) -> str:
        """Nothing: arguments are sent whole."""
        return ""

    def _delta(self, pieces: list[Any]) -> DeltaMessage | None:
        text, calls = tool_calls.split(pieces)
        if not text and not calls:
            return None
        deltas = []
        for call in calls:
            function = DeltaFunctionCall(name=call.name, arguments=call.arguments)
            deltas.append(DeltaToolCall(index=self._sent, id=make_tool_call_id(), type="function", function=function))
            # By these vLLM knows that the answer ends with calls, and that none of them is owed.
            self.prev_tool_call_arr.append({"name": call.name, "arguments": call.arguments})
            self.streamed_args_for_tool.append(call.arguments)
            self.current_tool_id = self._sent
            self._sent += 1
        return DeltaMessage(content=text or None, tool_calls=deltas)


ToolParserManager.register_module(NAME, module=Phi4EdgeToolParser)
