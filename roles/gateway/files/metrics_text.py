"""Prometheus' text format (0.0.4): what is read from others, line by line and within bounds, and what is said here.

Python 3.8, standard library. A sample that Prometheus would not take would cost it the whole page: none gets through.
"""

from __future__ import annotations

import math
import re
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

KINDS = ("counter", "gauge", "histogram", "summary", "untyped")
# Of one source. vLLM has some 60 families, and histograms of 25 samples.
MOST_FAMILIES, MOST_SAMPLES, MOST_IN_FAMILY, MOST_LABELS = 300, 4000, 500, 16
LINE_LIMIT, VALUE_LIMIT, HELP_LIMIT = 4096, 200, 200

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}"
_SAMPLE = re.compile(r"(%s)(?:\{(.*)\})?[ \t]+(\S+)[ \t]*" % _NAME)
_TYPE = re.compile(r"# TYPE (%s) ([a-z]{1,20})" % _NAME)
_HELP = re.compile(r"# HELP (%s) (.*)" % _NAME)
_LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]{0,63})="((?:[^"\\]|\\[\\"n])*)"[ \t]*(?:,|$)')
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_NO_NUMBER = ("NaN", "+Inf", "-Inf", "Inf")
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
_PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}

Labels = Tuple[Tuple[str, str], ...]


class Family(NamedTuple):
    """All samples of one name: the text of each value by the sample's own name and its labels, sorted."""

    name: str
    kind: str
    help: str
    samples: Dict[Tuple[str, Labels], str]


class Page:
    """What is said at one scrape, family by family."""

    def __init__(self) -> None:
        self.families: Dict[str, Family] = {}

    def add(self, name: str, kind: str, text: str, value: float, **labels: str) -> None:
        """One more sample of ours; one with the same labels is replaced."""
        family = self.families.setdefault(name, Family(name, kind, text, {}))
        family.samples[(name, tuple(sorted(labels.items())))] = number(value)

    def take(self, families: Mapping[str, Family]) -> None:
        """The families are part of this page. A name that is here already keeps its samples: no two say the same."""
        for name, family in families.items():
            self.families.setdefault(name, family)

    def text(self) -> str:
        """All of it."""
        return "".join(_rendered(family) for family in self.families.values() if family.samples)


def number(value: float) -> str:
    """A value as Prometheus reads it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def parse(raw: bytes, wanted: Callable[[str], bool], own: Mapping[str, str]) -> Tuple[Dict[str, Family], int]:
    """The families of which `wanted` is true, each sample with the labels `own`, and how much was no valid sample.

    A label of the source's that has the name of one of `own` and says something else becomes exported_NAME, as
    Prometheus does it.
    """
    reader = _Reader(wanted, own)
    for line in raw.split(b"\n"):
        reader.line(line.rstrip(b"\r"))
    return reader.families, reader.dropped


class _Reader:
    """Reads one page of a source."""

    def __init__(self, wanted: Callable[[str], bool], own: Mapping[str, str]) -> None:
        self.wanted, self.own = wanted, own
        self.families: Dict[str, Family] = {}
        self.kinds: Dict[str, str] = {}
        self.helps: Dict[str, str] = {}
        self.samples = self.dropped = 0

    def line(self, raw: bytes) -> None:
        if not raw.strip():
            return
        try:
            text = raw.decode() if len(raw) <= LINE_LIMIT else ""
        except UnicodeDecodeError:
            text = ""
        if not (self.comment(text) if text.startswith("#") else self.sample(text)):
            self.dropped += 1

    def comment(self, text: str) -> bool:
        """Whether the line is a comment, or one that says of a family what it is, and for the first time."""
        typed, helped = _TYPE.fullmatch(text), _HELP.fullmatch(text)
        if typed:
            name, kind = typed.groups()
            if kind not in KINDS or name in self.kinds or name in self.families or len(self.kinds) >= MOST_FAMILIES:
                return False
            self.kinds[name] = kind
        elif helped and len(self.helps) < MOST_FAMILIES:
            self.helps.setdefault(helped.group(1), "".join(filter(str.isprintable, helped.group(2)))[:HELP_LIMIT])
        return not text.startswith(("# TYPE", "# HELP")) or bool(typed or helped)

    def sample(self, text: str) -> bool:
        """Whether the line is a sample that is kept, or one that nobody wants."""
        found = _SAMPLE.fullmatch(text)
        if not found:
            return False
        name, inner, value = found.groups()
        family = self.family_of(name)
        if not self.wanted(family):
            return True
        labels = self.labels(inner or "")
        if labels is None or not _valid(value) or self.samples >= MOST_SAMPLES:
            return False
        if family not in self.families and len(self.families) >= MOST_FAMILIES:
            return False
        kind = self.kinds.get(family, "untyped")
        kept = self.families.setdefault(family, Family(family, kind, self.helps.get(family, ""), {}))
        if (name, labels) in kept.samples or len(kept.samples) >= MOST_IN_FAMILY:
            return False
        kept.samples[(name, labels)] = value
        self.samples += 1
        return True

    def family_of(self, name: str) -> str:
        if name not in self.kinds:
            for kind, endings in _PARTS.items():
                for ending in endings:
                    base = name[: -len(ending)] if name.endswith(ending) else ""
                    if base and self.kinds.get(base) == kind:
                        return base
        return name

    def labels(self, inner: str) -> Optional[Labels]:
        """The labels of a sample with ours, sorted; None for what is none, or may not be sent."""
        found: Dict[str, str] = {}
        at = 0
        while at < len(inner):
            label = _LABEL.match(inner, at)
            if not label:
                return None
            name, value = label.group(1), re.sub(r'\\[\\"n]', lambda each: _ESCAPES[each.group()], label.group(2))
            at = label.end()
            if self.own.get(name, value) != value:
                name = "exported_" + name
            unfit = name in found or name.startswith("__") or len(found) >= MOST_LABELS
            if unfit or len(value) > VALUE_LIMIT or not value.isprintable():
                return None
            found[name] = value
        return tuple(sorted({**found, **self.own}.items()))


def _valid(value: str) -> bool:
    """Whether Go reads it as a number: one that is larger than a float is an error there."""
    return value in _NO_NUMBER or bool(_NUMBER.fullmatch(value) and not math.isinf(float(value)))


def _rendered(family: Family) -> str:
    said = _escaped(family.help).replace('\\"', '"') or "Of the engine."
    lines: List[str] = ["# HELP %s %s\n# TYPE %s %s\n" % (family.name, said, family.name, family.kind)]
    for (name, labels), value in family.samples.items():
        inner = ",".join('%s="%s"' % (key, _escaped(word)) for key, word in labels)
        lines.append("%s{%s} %s\n" % (name, inner, value) if inner else "%s %s\n" % (name, value))
    return "".join(lines)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
