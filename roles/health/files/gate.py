"""The gate: the service runs, answers, serves the right model from the right release, generates, and stays up.

Runs on the host, so that it works for a service that listens on loopback alone. Every step has a deadline, and a
failure names its step and brings the last lines of the journal.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any, Mapping

import gatedocker
import gatefront
import gateollama
import gateport
from gatehttp import Pauses, StepError, ask, generating, listed, page
from hostlib import JSON_LIMIT, HostError, Json, write_json
from hostprivate import read_private
from hostrun import clean, command, serve
from hosttime import OutOfTime, late
from hostunit import GATEWAY, MAIN, PASSED, SOCKET, WEBUI, shown

JOURNAL_LINES = 30
PROPERTIES = "ActiveState,SubState,Result,NRestarts,MainPID,InvocationID,ActiveEnterTimestampMonotonic,ExecStart,Job"
# How often systemd and Docker started it over, and what is another one as soon as anything was.
COUNTS = ("NRestarts", "container_restarts")
PROCESS = (*COUNTS, "InvocationID", "MainPID", "container_id", "container_pid")


def gate(args: Json, _payload: bytes) -> Json:
    """All steps in order. Raises HostError with step, reason and journal at the first that fails."""
    start = time.monotonic()
    end = start + args["start_seconds"]
    # The unit was started just before; what an earlier release logged would only mislead.
    args["since"] = int(time.time()) - 5
    try:
        here(args)
        state = running(args, end)
        healthy(args, state, end)
        ours(args, state)
        models(args)
        if args["engine"] == "ollama":
            gateollama.keeper(args, end)
            gateollama.load(args, end)
        ready = time.monotonic() - start
        words = generating(args)
        placed(args)
        webui(args, end)
        gatefront.front(args, end)
        steady(args, state)
    except StepError as failure:
        args["failed"] = failure.step
        raise HostError(explain(args, failure), step=failure.step, journal=journal(args)) from None
    except OutOfTime:
        args["failed"] = "time"
        answer = late("gate", args["seconds_left"])
        message = explain(args, StepError("time", answer["error"]))
        raise HostError(message, step="time", journal=journal(args), timedout=answer["timedout"]) from None
    return {"ready_seconds": round(ready, 1), "generation": words, "proof": noted(args, state)}


def noted(args: Json, state: Mapping[str, str]) -> str:
    """The proof that this gate was passed, without which the receipt is not written; "" for a rehearsal."""
    if args["rehearsal"]:
        return ""
    proof = secrets.token_hex(16)
    counts = {name: state[name] for name in COUNTS if name in state}
    write_json(PASSED, dict(counts, release=args["release"], proof=proof), 0o600)
    return proof


def passed(release: str) -> Json:
    """What the gate noted when this release passed; {} where it did not, or before the last boot."""
    try:
        noted = json.loads(read_private(PASSED, JSON_LIMIT) or b"")
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) and noted.get("release") == release else {}


def here(args: Json) -> None:
    """The address is this host's: a socket may listen on one that it has not, and another host would be asked."""
    if not gateport.ours(args["address"]):
        raise StepError("port", f"{args['address']} is no address of this host: correct phi4_bind")


def running(args: Json, end: float) -> dict[str, str]:
    """The unit is active, and under Compose its container runs; it gets the whole start time unless it failed.

    Two restarts are a failure too: what fails twice fails again. What a client on its socket has started over, systemd
    does not count.
    """
    seen, pauses = set(), Pauses()
    while True:
        state = now(args)
        seen.add(state.get("InvocationID"))
        if state.get("ActiveState") == "active" and state.get("container", "running") == "running":
            return state
        over = max(restarts(state), len(seen - {None, ""}) - 1)
        if state.get("ActiveState") == "failed" or over >= 2:
            found = f"{state.get('ActiveState')} after {over} restarts"
            raise StepError("process", f"{args['unit']} does not stay up: {found}")
        # One that has a job waits for what it is ordered behind: Docker, or the network.
        ended = state.get("ActiveState") == "inactive" and not state.get("Job")
        if ended or time.monotonic() > end:
            inside = f", its container {state['container'] or 'missing'}" if "container" in state else ""
            raise StepError(
                "process", f"{args['unit']} is {state.get('ActiveState')} ({state.get('SubState')}){inside}"
            )
        pauses.rest()


def now(args: Json) -> dict[str, str]:
    """What systemd says about the unit, and where it runs containers what Docker says about the engine's."""
    state = shown(args["unit"], PROPERTIES)
    return dict(state, **gatedocker.state(args)) if args["compose"] else state


def restarts(state: Mapping[str, str]) -> int:
    """How often systemd or Docker started it over."""
    return sum(int(state.get(name) or 0) for name in COUNTS)


def healthy(args: Json, before: dict[str, str], end: float) -> None:
    """The engine's health path says so; until then nothing may fail or start over."""
    if args["gpu"] and args["compose"] and (args["gpu_uuid"] or args["engine"] != "ollama"):
        gatedocker.sees_gpu(args)
    pauses = Pauses()
    while True:
        good, found = probed(args)
        state = now(args)
        checked = state.get("container_health", "")
        if good and checked in ("", "healthy"):
            return
        if good:
            found = f"Docker's own health check says {checked}"
        if state.get("ActiveState") != "active" or checked == "unhealthy" or restarts(state) != restarts(before):
            what = f"the service went down while it was starting ({state.get('Result')})"
            raise StepError("health", f"{what if checked != 'unhealthy' else 'the container is unhealthy'}: {found}")
        if time.monotonic() > end:
            raise StepError("health", f"not healthy after {args['start_seconds']:.0f} s: {found}")
        pauses.rest()


def probed(args: Json, seconds: float = 10.0) -> tuple[bool, str]:
    """Whether the health path says healthy within `seconds`, and what it said."""
    try:
        status, report = ask(args, "GET", args["health"], seconds=seconds, plain=not args["names_release"])
    except (OSError, ValueError) as error:
        return False, str(error)
    found = f"status {status}, {clean(json.dumps(report), 300)}"
    if not args["names_release"]:
        return status == 200, found
    healthy = status == 200 and isinstance(report, dict) and report.get("status") == "healthy"
    if healthy and report.get("release") != args["release"]:
        raise StepError("release", f"found release {report.get('release')!r} answering, needed {args['release']!r}")
    return healthy, found


def ours(args: Json, state: dict[str, str]) -> None:
    """What answers on the port is the planned release: its process, or its container with the planned image."""
    if args["compose"]:
        gatedocker.planned(args)
        return
    if f"{args['releases']}/{args['release']}/" not in state.get("ExecStart", ""):
        found = clean(state.get("ExecStart", ""), 300)
        raise StepError("release", f"{args['unit']} runs {found}, needed release {args['release']}")
    if not gateport.owned(args["address"], args["port"], args["unit"]):
        raise StepError("port", f"what answers on port {args['port']} is not {args['unit']}")


def models(args: Json) -> None:
    """The engine serves the planned model, and under Ollama these very weights."""
    listed(args)
    if args["engine"] == "ollama":
        gateollama.stored(args)


def placed(args: Json) -> None:
    """The model is where the plan wants it: on the GPU, or not."""
    if args["engine"] == "ollama":
        gateollama.resident(args)
    elif args["gpu"] and args["compose"]:
        gatedocker.uses_gpu(args)


def webui(args: Json, end: float) -> None:
    """The chat page beside the engine answers, where the plan has one."""
    pauses = Pauses()
    while args["webui"]:
        found = page(args["webui"]) or gatedocker.page_of_another(args)
        if not found:
            return
        if time.monotonic() > end:
            raise StepError("webui", f"the chat page does not answer on port {args['webui']['port']}: {found}")
        pauses.rest()


def steady(args: Json, before: dict[str, str]) -> None:
    """The same process and container are still there, and healthy, after the stability window."""
    time.sleep(args["stability_seconds"])
    state = now(args)
    found = differs(state, before)
    if found:
        raise StepError("stability", f"the service did not stay up for {args['stability_seconds']} s: {found}")
    good, found = probed(args)
    if not good:
        raise StepError("stability", f"unhealthy after it had generated: {found}")


def differs(state: Mapping[str, str], before: Mapping[str, Any]) -> str:
    """What of the service is not as it was: its state, process or container; "" when it is the same one."""
    names = [name for name in ("ActiveState", "container", *PROCESS) if name in before]
    changed = [name for name in names if state.get(name) != before[name]]
    return ", ".join(f"{name} {state.get(name)} (was {clean(str(before[name]), 80)})" for name in changed)


def explain(args: Json, failure: StepError) -> str:
    """The message for the operator; another program on our port is the likeliest cause of anything, so it is named."""
    other = gateport.stranger(args["port"], args["unit"])
    if args["compose"]:
        other = gatedocker.stranger(args, other)
    taken = f"; port {args['port']} is taken by {other}: stop it or set phi4_port" if other else ""
    lines = journal(args)
    said = "\n  ".join(["; the last lines of its journal:", *lines]) if lines else ""
    return f"step {failure.step}: {failure}{taken}{said}"


def journal(args: Json) -> list[str]:
    """The last lines that the unit logged, without control characters, each at most 300 characters."""
    unit = str({"webui": WEBUI, "gateway": GATEWAY}.get(str(args["failed"]), args["unit"]))
    # Why the port could not be had, its own unit says.
    units = ["-u", unit, *(["-u", SOCKET] if unit == MAIN else [])]
    status, output = command(
        "journalctl", *units, "-n", str(JOURNAL_LINES), f"--since=@{args['since']}", "-o", "cat",
        "--all", "--no-pager", timeout=20.0,
    )  # fmt: skip
    return [line[:300] for line in output.splitlines() if line.strip()][-JOURNAL_LINES:] if status == 0 else []


if __name__ == "__main__":
    serve(globals(), {"gate": gate}, changes=False)
