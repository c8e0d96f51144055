"""What to run after a rollout: commands with the sentence that says why. Pure; takes `phi4-edge/rollout/1`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.rollout.outcome import BAD, GOOD
from phi4_edge.core.text import printable
from phi4_edge.errors import AGAIN
from phi4_edge.report.rollout.story import outcome

# Names that mean themselves in an Ansible host pattern; with any other a command could reach other hosts.
_PLAIN = re.compile(r"[\w][\w.-]*")


@dataclass(frozen=True)
class Step:
    """Why, and the command line to copy; `command` is empty for something to do by hand."""

    why: str
    command: str = ""


def steps(document: Mapping[str, Any]) -> list[Step]:
    """In the order in which to do them."""
    by = {name: [host["host"] for host in document["hosts"] if outcome(host) == name] for name in _outcomes(document)}
    bad = [host["host"] for host in document["hosts"] if outcome(host) in BAD]
    state, operation = document["state"], str(document["operation"])
    if state == "running":
        return [Step("Nothing yet: it is still running. See how far it is.", _show(document))]
    found: list[Step] = []
    if bad or by.get("interrupted"):
        names = [*bad, *by.get("interrupted", ())]
        found.append(Step("See what these hosts serve now.", _command("status", document, names)))
    if kept := [*by.get("unreachable", ()), *by.get("preflight", ())]:
        found.append(Step("See what is in the way on these, and how to fix it.", _command("doctor", document, kept)))
    if by.get("no_fit"):
        found.append(Step("See what these lack, and what would fit.", _command("plan", document, by["no_fit"])))
    if by.get("locked"):
        found.append(Step("See who is at work there.", _command("lock show", document, by["locked"])))
    left = any(outcome(host) not in GOOD for host in document["hosts"])
    if operation == "bench" and (served := _served(document, left)):
        return [*found, *_put_back(document, served)]
    if left:
        found.append(_again(document, operation, bool(bad)))
    if bad and by.get("done") and operation == "provision" and (back := _back(document, by["done"])):
        found.append(back)
    if not left and operation == "provision":
        found.append(Step("Nothing has to be done. Ask every host the same questions.", _command("verify", document)))
    elif not left:
        found.append(Step("Nothing has to be done. See what the hosts serve.", _command("status", document)))
    return found


def _outcomes(document: Mapping[str, Any]) -> set[str]:
    return {outcome(host) for host in document["hosts"]}


def _again(document: Mapping[str, Any], operation: str, bad: bool) -> Step:
    """The run that finishes the job. A run that was cut short goes on; after a stop everything is planned anew."""
    if operation not in ("provision", "rollback"):
        return Step(f"{AGAIN.capitalize()}.")
    if operation == "provision" and (document["state"] in ("dead", "interrupted")):
        return Step(
            "Go on where it ended; hosts that are finished are not touched again.",
            _command("provision", document, resume=True),
        )
    if operation == "rollback":  # the release before of a host that is back is the one that it came from
        why = "When the cause is fixed, go on with it" if bad else "Then go on with it"
        return Step(
            f"{why}; without --resume the hosts that are back would go forth again.",
            _command(operation, document, resume=True),
        )
    why = "When the cause is fixed, run it again" if bad else "Then run it again"
    return Step(f"{why}; hosts that are up to date are left alone.", _command(operation, document))


def _back(document: Mapping[str, Any], done: Sequence[str]) -> Step | None:
    if not all(_PLAIN.fullmatch(name) for name in done):
        return None
    why = "Only if the new release must not stay anywhere: take the hosts that are done back to the release before."
    return Step(why, _command("rollback", document, done))


def _served(document: Mapping[str, Any], left: bool) -> Mapping[str, str]:
    """The release that each host of a bench served, where it may have to be brought back to that.

    On the way to an engine, however that ended: nobody knows what came after it. On the way back where it is not done.
    """
    options = document["options"]
    found = options.get("served") or (options.get("to") if left else None)
    return {str(host): str(release) for host, release in found.items()} if isinstance(found, Mapping) else {}


def _put_back(document: Mapping[str, Any], served: Mapping[str, str]) -> list[Step]:
    """A command for each release."""
    why = "Bring back what served before, where it does not serve yet."
    found = []
    for release in dict.fromkeys(served.values()):
        hosts = [host for host in served if served[host] == release]
        to = shlex.join(["--to", printable(release, lines=False)])
        found.append(Step(why, f"{_command('rollback', document, hosts)} {to}"))
    return found


def _show(document: Mapping[str, Any]) -> str:
    return f"phi4-edge rollout show {shlex.quote(printable(document['id'], lines=False))}"


def _command(name: str, document: Mapping[str, Any], hosts: Sequence[str] = (), resume: bool = False) -> str:
    """A command line over the rollout's inventory, limited to `hosts`, or to what the rollout was limited to."""
    limit = ",".join(hosts) if hosts and all(_PLAIN.fullmatch(host) for host in hosts) else document.get("limit")
    words = ["phi4-edge", *name.split(), *(str(path) for path in document["inventory"])]
    words += ["--limit", str(limit)] if limit else []
    words += ["--resume"] if resume else []
    return shlex.join(printable(word, lines=False) for word in words)
