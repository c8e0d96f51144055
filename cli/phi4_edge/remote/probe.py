"""What the probe is asked on a host, and the facts document that its answer makes: the same over every way to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from phi4_edge.core.facts import parse
from phi4_edge.core.layout import STANDARD, Layout
from phi4_edge.remote import answers

OPERATION: answers.Key = ("probe", "probe", "probe")
# A second question, to hosts that nothing of ours is on and that are to be planned for.
SAMPLE: answers.Key = ("probe", "bandwidth", "sample")
# It takes less than 0.3 s; a board that starts Python slowly takes some more.
SAMPLE_SECONDS = answers.OPERATIONS[SAMPLE].seconds
# For the files of the receipt whose size or time changed: 2.4 GB at the 40 MB/s of an SD card take 60 s.
VERIFY_SECONDS = 120
# Where every managed byte is read: models, engine and stores.
DEEP_SECONDS = 900
# Beside the verifying of files: the sources themselves, and a board that starts Python slowly.
SPARE_SECONDS = 120.0


def arguments(there: Layout, verify_seconds: int = VERIFY_SECONDS, deep: bool = False) -> dict[str, Any]:
    """What the script is told. `deep`: to hash every managed file, whatever its stamp says."""
    return {"verify_seconds": verify_seconds, "deep": deep, "layout": there.to_dict()}


def document(answer: Mapping[str, Any], host: str, there: Layout) -> dict[str, Any]:
    """The facts document of `host`."""
    found = {**answer, "host": host}
    return found if there == STANDARD else {**found, "layout": there.to_dict()}


def sampled(document: Mapping[str, Any], asked: Callable[[answers.Key], Mapping[str, Any]]) -> dict[str, Any]:
    """The document with a sample of the memory's bandwidth, where the host has no release.

    A host that serves is not asked: its engine would share the memory with the sample, and its receipt has the one from
    before. `asked`: the answer of an operation on the host. Raises what it raises, and FactsError for no document.
    """
    if not parse.bare(document):
        return dict(document)
    answer = asked(SAMPLE)
    found = {"text": f"{answer['one']} {answer['all']} {answer['threads']}"}
    if answer["why"]:
        found = {"gap": "failed", "detail": answer["why"]}
    return {**document, "sources": {**document["sources"], "bandwidth": found}}
