"""What the engine counts, in Prometheus' text format and under the names that vLLM has for the same.

Every label value is one of this module's, or the name of a key of the gateway's, of which it has so many: no client
can make series.
"""

from __future__ import annotations

import http
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_WAITS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 640)
_STEPS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5)
_MOST_KEYS = 256
"""Of which it is told, those that have used most: what reads this takes 500 samples of a name."""
REASONS = ("stop", "length", "abort", "error")
"""How an answer ends: vLLM's words. `abort`: the client left."""
_STATUSES = frozenset(str(status.value) for status in http.HTTPStatus) | {"499"}


@dataclass(frozen=True)
class Now:
    """What is true at the moment: answers that run and wait, and the share of the cache's tokens that is used."""

    running: int
    waiting: int
    cache_share: float


class Histogram:
    """How often something took how long, in buckets of seconds."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self._edges = edges
        self._counts = [0] * (len(edges) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(self._edges, seconds)] += 1
        self._sum += seconds

    def samples(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        """Suffix, labels and value of each line."""
        total = 0
        for edge, count in zip((*map(str, self._edges), "+Inf"), self._counts, strict=True):
            total += count
            yield "_bucket", {"le": edge}, total
        yield "_sum", {}, self._sum
        yield "_count", {}, total


class Metrics:
    """The counts of one process, from its start."""

    def __init__(self, model: str) -> None:
        self._labels = {"model_name": model, "engine": "onnx"}
        self.first_token = Histogram(_WAITS)
        self.next_token = Histogram(_STEPS)
        self.whole = Histogram(_WAITS)
        self.queued = Histogram(_WAITS)
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.answer_tokens = 0
        self._ended = dict.fromkeys(REASONS, 0)
        self._statuses: dict[str, int] = {}

    def ended(self, reason: str) -> None:
        """One more answer has ended so."""
        self._ended[reason] += 1

    def answered(self, status: int) -> None:
        """One more HTTP response has this status."""
        name = str(status) if str(status) in _STATUSES else "other"
        self._statuses[name] = self._statuses.get(name, 0) + 1

    def text(self, now: Now, keys: Mapping[str, int]) -> str:
        """The exposition. `keys`: tokens of this day by key."""
        return "".join(self._lines(now, keys))

    def _lines(self, now: Now, keys: Mapping[str, int]) -> Iterator[str]:
        for name, value, what in (
            ("num_requests_running", now.running, "Answers that are being generated."),
            ("num_requests_waiting", now.waiting, "Requests that wait for a slot."),
            ("kv_cache_usage_perc", now.cache_share, "Share of the cache's tokens that is in use, 0 to 1."),
        ):
            yield from self._family(f"vllm:{name}", "gauge", what, [("", {}, value)])
        for name, value, what in (
            ("prompt_tokens", self.prompt_tokens, "Tokens of the prompts that were answered."),
            ("generation_tokens", self.answer_tokens, "Tokens that were generated."),
            ("prefix_cache_queries", self.prompt_tokens, "Tokens of prompts that were looked for in the cache."),
            ("prefix_cache_hits", self.cached_tokens, "Tokens of prompts that were in the cache."),
        ):
            yield from self._family(f"vllm:{name}", "counter", what, [("_total", {}, value)])
        ended = [("_total", {"finished_reason": reason}, float(count)) for reason, count in self._ended.items()]
        yield from self._family("vllm:request_success", "counter", "Answers by how they ended.", ended)
        answered = [("_total", {"status": status}, float(count)) for status, count in sorted(self._statuses.items())]
        yield from self._family("phi4_edge:http_responses", "counter", "HTTP responses by status.", answered)
        if keys:
            most = sorted(keys, key=lambda key: -keys[key])[:_MOST_KEYS]
            used = [("_total", {"key": key}, float(keys[key])) for key in sorted(most)]
            what = "Tokens of prompts and answers of a gateway's key on this day of UTC; a new day begins at 0."
            yield from self._family("phi4_edge:key_tokens", "counter", what, used)
        for name, histogram, what in (
            ("time_to_first_token_seconds", self.first_token, "From the request to the first token."),
            ("inter_token_latency_seconds", self.next_token, "From one token to the next."),
            ("e2e_request_latency_seconds", self.whole, "From the request to the end of its answer."),
            ("request_queue_time_seconds", self.queued, "From the request to its slot."),
        ):
            yield from self._family(f"vllm:{name}", "histogram", what, histogram.samples())

    def _family(
        self, name: str, kind: str, what: str, samples: Iterable[tuple[str, Mapping[str, str], float]]
    ) -> Iterator[str]:
        # In the text format the name of a counter has its ending in both places.
        told = f"{name}_total" if kind == "counter" else name
        yield f"# HELP {told} {what}\n# TYPE {told} {kind}\n"
        for suffix, labels, value in samples:
            pairs = ",".join(f'{key}="{_escaped(word)}"' for key, word in (self._labels | dict(labels)).items())
            yield f"{name}{suffix}{{{pairs}}} {value:g}\n" if value < 1e6 else f"{name}{suffix}{{{pairs}}} {value!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
