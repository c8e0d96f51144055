"""What Ansible says while it loads an inventory: its warnings, and why it could not read a source."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from phi4_edge.inventory import sources

_PREFIX = re.compile(r"\[(?:DEPRECATION )?(?:WARNING|ERROR)\]: +")
_COMPLAINT = re.compile(r"Failed to parse .*?with '?([\w.]+)'? plugin: +(.*)", re.DOTALL)
_UNREAD = ("Failed to parse", "Unable to parse", "parsing failure")
# Ansible's own text is followed by the same once more, and by lines of the file, which may hold a secret.
_AGAIN = re.compile(r"\n+Failed to parse inventory with .*", re.DOTALL)
_CONTEXT = re.compile(r"\d+ |\s*\^ ?column|\s*\.\.\.|Origin:|\(source not shown")
_NOISE = ("implicit localhost", "only localhost is available", "Deprecation warnings can be disabled")
_LIST = re.compile(r"\"?<class '[\w.]*(?:List|Sequence|list)'>\"?")
_SHOWN = 600


@dataclass(frozen=True)
class Remark:
    """One message of Ansible, and the source that it was reading then ("" between sources)."""

    source: str
    text: str

    @property
    def origin(self) -> str:
        """Where the message itself says that the mistake is, as FILE:LINE:COLUMN; "" where it does not."""
        found = re.search(r"^Origin: ([^<\n].*)$", self.text, re.MULTILINE)
        return found[1].strip() if found else ""

    @property
    def line(self) -> str:
        """The message in one line, with the file."""
        said = first_lines(_PREFIX.sub("", self.text).replace(", use -vvvv to see details", ""))
        where = self.origin or self.source
        return said if not where or where in said else f"{where}: {said}"


@dataclass
class Remarks:
    """All that was said. `reading` tells which source is being read."""

    said: list[Remark] = field(default_factory=list)
    reading: Callable[[], str] = lambda: ""

    def hear(self, text: str) -> None:
        """Takes a message that is meant for the operator; what Ansible tells of its progress is not."""
        if _PREFIX.match(text) and not any(noise in text for noise in _NOISE):
            self.said.append(Remark(self.reading(), text.strip()))

    @property
    def lines(self) -> list[str]:
        """The warnings, each once."""
        return list(dict.fromkeys(remark.line for remark in self.said))

    @property
    def unread(self) -> str:
        """Why the first source that Ansible could not read could not be; "" where all were read."""
        bad = [remark for remark in self.said if any(phrase in remark.text for phrase in _UNREAD)]
        if not bad:
            return ""
        source = next((remark.source for remark in bad if "Unable to parse" in remark.text), bad[0].source)
        spoken: dict[str, str] = {}
        for remark in bad:
            if remark.source == source and (found := _COMPLAINT.search(remark.text)):
                spoken.setdefault(found[1], _AGAIN.sub("", found[2]).removeprefix("Failed to parse inventory: "))
        reason = spoken[_fitting(source, spoken)] if spoken else bad[0].text
        where = next((remark.origin for remark in bad if remark.source == source and remark.origin), source)
        mark = f" ({where} {sources.MARK})" if sources.has_mark(source) else ""
        return f"{_LIST.sub('a list', first_lines(reason))}{mark} (Origin: {where})"


def _fitting(source: str, spoken: dict[str, str]) -> str:
    """The plugin that the file was written for, among those that could not read it."""
    suffix = Path(source).suffix
    if sources.is_program(source):
        order = ["script"]
    elif suffix in sources.YAML:
        configures = "Plugin configuration" in spoken.get("yaml", "")  # it names a plugin, which auto then called
        order = ["auto", "yaml"] if configures else ["yaml"]
    else:
        order = ["toml", "ini"] if suffix == ".toml" else ["ini"]
    return next((name for name in [*order, *(name for name in spoken if name != "auto")] if name in spoken), "auto")


def first_lines(text: str) -> str:
    """A message of Ansible in one line, without the lines that it shows of a file."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _CONTEXT.match(line)]
    hint = "; give the right password with --vault-id or --vault-password-file" if "decrypt" in text else ""
    return " ".join(_PREFIX.sub("", line) for line in lines[:4])[:_SHOWN] + hint


@contextmanager
def listening() -> Iterator[Remarks]:
    """Collects what Ansible says instead of printing it."""
    from ansible.utils.display import Display

    remarks, display = Remarks(), Display()
    kept, columns = display.display, display.columns
    for told in ("_warns", "_deprecations", "_errors"):
        getattr(display, told).clear()  # it says each thing once in a process, which may load several inventories
    display.display = lambda msg, *args, **kwargs: remarks.hear(str(msg))
    display.columns = 1 << 16  # it breaks lines otherwise
    try:
        yield remarks
    finally:
        display.display, display.columns = kept, columns
