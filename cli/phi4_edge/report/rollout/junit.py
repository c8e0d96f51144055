"""A rollout as JUnit XML, for CI: a suite per wave, a case per host. Takes `phi4-edge/rollout/1`. Pure.

Keeps to what Jenkins' schema (junit-10.xsd) and Ant's have in common. Text of hosts holds no character that XML 1.0
forbids, and nothing above ASCII is written as itself, so the text is the same in every locale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as Tree

from phi4_edge.core.rollout.outcome import GOOD, Outcome
from phi4_edge.core.text import printable
from phi4_edge.report.outcomes import word
from phi4_edge.report.rollout import story
from phi4_edge.report.rollout.story import Host, Section, elapsed, moment, outcome
from phi4_edge.report.text import count, duration

Document = Mapping[str, Any]

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
# The host was worked on, and does not serve what it was to serve.
_FAILURES = frozenset({Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.UNHEALTHY, Outcome.TIMED_OUT, Outcome.REVERTED})
_STATES = ("failure", "error", "skipped")
# A log is cut by the engine that wrote it; one message of a hostile host must not make the file unusable.
_MOST = 20_000


def text(document: Document) -> str:
    """The whole file, with a line end."""
    root = Tree.Element("testsuites", {"name": _clean(_name(document)), "time": _took(document)})
    suites = [_suite(document, section) for section in story.sections(document)]
    for total in ("tests", "failures", "errors"):
        root.set(total, str(sum(int(suite.get(total, "0")) for suite in suites)))
    root.extend(suites)
    Tree.indent(root)
    written: bytes = Tree.tostring(root, encoding="us-ascii", xml_declaration=False)
    return f"{_HEAD}{written.decode('ascii')}\n"


def _name(document: Document) -> str:
    return f"phi4-edge {document['operation']} {document['id']}"


def _took(document: Document) -> str:
    return _time(elapsed(document.get("started"), document.get("ended")) or 0.0)


def _suite(document: Document, section: Section) -> Tree.Element:
    wave = section.wave or {}
    cases = [_case(document, section, host) for host in section.hosts]
    seconds = elapsed(wave.get("began"), wave.get("ended"))
    if seconds is None:
        seconds = max((float(host.get("seconds") or 0) for host in section.hosts), default=0.0)
    failures, errors, skipped = (sum(case.find(state) is not None for case in cases) for state in _STATES)
    began = moment(wave.get("began")) or moment(document.get("started"))
    named = {
        "name": section.name, "tests": len(cases), "failures": failures, "errors": errors, "skipped": skipped,
        "time": _time(seconds), "hostname": document.get("controller") or "unknown",
        **({"timestamp": began.strftime("%Y-%m-%dT%H:%M:%S")} if began else {}),
    }  # fmt: skip
    suite = Tree.Element("testsuite", {name: _clean(value) for name, value in named.items()})
    properties = Tree.SubElement(suite, "properties")
    for name, value in _properties(document):
        Tree.SubElement(properties, "property", {"name": name, "value": _clean(value)})
    suite.extend(cases)
    return suite


def _properties(document: Document) -> Iterable[tuple[str, object]]:
    """What is true of the whole rollout; CI shows it with each suite."""
    code = document.get("exit_code")
    yield from (
        ("rollout", document["id"]),
        ("operation", document["operation"]),
        ("verdict", story.verdict(document)),
        ("exit_code", "none yet" if code is None else code),
        ("inventory", " ".join(map(str, document["inventory"]))),
        ("limit", document.get("limit") or ""),
        ("user", document.get("user") or ""),
        ("version", document.get("version") or ""),
    )


def _case(document: Document, section: Section, host: Host) -> Tree.Element:
    """A host. One that is as it was to be has no element of its own for that."""
    named = {"name": host["host"], "classname": f"{document['operation']}.{section.name}"}
    case = Tree.Element("testcase", {name: _clean(value) for name, value in named.items()})
    case.set("time", _time(float(host.get("seconds") or 0)))
    name = outcome(host)
    if (state := _state(name, document)) is not None:
        reason, log = story.split(host.get("reason"))
        told = Tree.SubElement(case, state)
        told.set("type", _clean(name))
        told.set("message", _clean(f"{word(name).text}: {reason}" if reason else word(name).text))
        told.text = _lines(_trouble(document, host, reason, log))
    Tree.SubElement(case, "system-out").text = _lines(_told(host))
    return case


def _state(name: str, document: Document) -> str | None:
    """How CI counts an outcome; None: the host is as it was to be."""
    if name in GOOD:
        return None
    if name == Outcome.UNTOUCHED or (name == "running" and document["state"] == "running"):
        return "skipped"
    return "failure" if name in _FAILURES else "error"


def _trouble(document: Document, host: Host, reason: str, log: Sequence[str]) -> Iterable[str]:
    yield from (reason or "no reason given", *(f"  {line}" for line in log))
    if step := story.next_step(host, document):
        yield f"next: {step}"


def _told(host: Host) -> Iterable[str]:
    """How the host ended and what it has now, the steps that it took, and what was planned for it."""
    release = f", release {host['release']}" if host.get("release") else ""
    yield f"{word(outcome(host)).text}{release}, {count(int(host.get('changed') or 0), 'changed task')}"
    for name, turns in story.step_turns(host).items():
        yield f"step {name}: {duration(sum(seconds for _, seconds in turns))}"
    for topic, said in story.plan_topics(host["plan"]) if host.get("plan") else ():
        yield f"plan: {topic}: {said}"


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(printable(each, _MOST, lines=False) for each in texts)


def _clean(value: object) -> str:
    """One line without anything that a terminal obeys; what XML forbids is among that."""
    return printable(value, _MOST, lines=False)


def _time(seconds: float) -> str:
    return f"{max(seconds, 0.0):.3f}"
