"""The gate: the service runs, answers, serves the right model from the right release, generates, and stays up.

Runs on the host, so that it works for a service that listens on loopback alone. Every step has a deadline, and a
failure names its step and brings the last lines of the journal.
"""

from __future__ import annotations

import glob
import http.client
import json
import os
import time
from typing import Any

from hostlib import HostError, Json
from hostrun import clean, command, serve

PROMPT = "Say hello."
POLL_SECONDS = 0.5
JOURNAL_LINES = 30


class StepError(Exception):
    """One step of the gate did not pass."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step


def gate(args: Json, _payload: bytes) -> Json:
    """All steps in order. Raises HostError with step, reason and journal at the first that fails."""
    start = time.monotonic()
    # The unit was started just before; what an earlier release logged would only mislead.
    args["since"] = int(time.time()) - 5
    try:
        state = running(args, start + args["start_seconds"])
        report = answering(args, start + args["start_seconds"])
        if report.get("release") != args["release"]:
            raise StepError("release", f"found release {report.get('release')!r} answering, needed {args['release']!r}")
        listed(args)
        ready = time.monotonic() - start
        words = generating(args)
        steady(args, state)
    except StepError as failure:
        raise HostError(explain(args, failure), step=failure.step, journal=journal(args)) from None
    return {"ready_seconds": round(ready, 1), "generation": words}


def shown(unit: str) -> dict[str, str]:
    """What systemd says about the unit, by property name."""
    _status, output = command("systemctl", "show", unit, "-p", "ActiveState,SubState,Result,NRestarts,MainPID")
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def running(args: Json, end: float) -> dict[str, str]:
    """The unit is active; it gets the whole start time unless it failed or was restarted twice already."""
    while True:
        state = shown(args["unit"])
        if state.get("ActiveState") == "active":
            return state
        if state.get("ActiveState") == "failed" or int(state.get("NRestarts") or 0) >= 2:
            found = f"{state.get('ActiveState')} after {state.get('NRestarts')} restarts"
            raise StepError("process", f"{args['unit']} does not stay up: {found}")
        if state.get("ActiveState") == "inactive" or time.monotonic() > end:
            raise StepError("process", f"{args['unit']} is {state.get('ActiveState')} ({state.get('SubState')})")
        time.sleep(POLL_SECONDS)


def ask(args: Json, method: str, path: str, body: Any = None, seconds: float = 10.0) -> tuple[int, Any]:
    """Status and JSON document of one request. Raises OSError or ValueError when there is none."""
    connection = http.client.HTTPConnection(args["address"], args["port"], timeout=seconds)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
        response = connection.getresponse()
        return response.status, json.loads(response.read(1 << 20).decode("utf-8", "replace"))
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {error!r}") from None
    finally:
        connection.close()


def answering(args: Json, end: float) -> dict[str, Any]:
    """/health says healthy; until then the unit must not fail or start over."""
    restarts = shown(args["unit"]).get("NRestarts")
    while True:
        try:
            status, report = ask(args, "GET", "/health")
            found = f"status {status}, {clean(json.dumps(report), 300)}"
        except (OSError, ValueError) as error:
            status, report, found = 0, {}, str(error)
        if status == 200 and isinstance(report, dict) and report.get("status") == "healthy":
            return report
        state = shown(args["unit"])
        if state.get("ActiveState") != "active" or state.get("NRestarts") != restarts:
            raise StepError("health", f"the service went down while it was starting ({state.get('Result')}): {found}")
        if time.monotonic() > end:
            raise StepError("health", f"not healthy after {args['start_seconds']} s: {found}")
        time.sleep(POLL_SECONDS)


def listed(args: Json) -> None:
    """/v1/models names the planned model."""
    try:
        status, report = ask(args, "GET", "/v1/models")
        names = [str(model["id"]) for model in report["data"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StepError("model", f"/v1/models has no list of models: {error}") from None
    if status != 200 or args["model"] not in names:
        raise StepError("model", f"found the models {clean(str(names), 200)}, needed {args['model']!r}")


def generating(args: Json) -> Json:
    """A chat completion brings at least one token of text before the deadline."""
    body = {
        "model": args["model"], "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 8, "temperature": 0,
    }  # fmt: skip
    start = time.monotonic()
    try:
        status, report = ask(args, "POST", "/v1/chat/completions", body, args["generation_seconds"])
    except (OSError, ValueError) as error:
        raise StepError("generation", f"no answer to a prompt within {args['generation_seconds']} s: {error}") from None
    try:
        text, tokens = report["choices"][0]["message"]["content"], int(report["usage"]["completion_tokens"])
    except (LookupError, TypeError, ValueError):
        raise StepError("generation", f"status {status}, {clean(json.dumps(report), 500)}") from None
    if status != 200 or tokens < 1 or not isinstance(text, str) or not text:
        raise StepError("generation", f"the model generated no text: status {status}, {tokens} tokens")
    return {"tokens": tokens, "seconds": round(time.monotonic() - start, 2)}


def steady(args: Json, before: dict[str, str]) -> None:
    """The same process is still there, and healthy, after the stability window."""
    time.sleep(args["stability_seconds"])
    state = shown(args["unit"])
    names = ("ActiveState", "MainPID", "NRestarts")
    if [state.get(name) for name in names] != [before.get(name) for name in names]:
        raise StepError("stability", f"the service did not stay up for {args['stability_seconds']} s: {state}")
    try:
        status, _report = ask(args, "GET", "/health")
    except (OSError, ValueError) as error:
        raise StepError("stability", f"no answer any more after it had generated: {error}") from None
    if status != 200:
        raise StepError("stability", f"unhealthy after it had generated: status {status}")


def explain(args: Json, failure: StepError) -> str:
    """The message for the operator; another program on our port is the likeliest cause of anything, so it is named."""
    other = stranger(args["port"], args["unit"])
    taken = f"; port {args['port']} is taken by {other}: stop it or set phi4_port" if other else ""
    lines = journal(args)
    said = "\n  ".join(["; the last lines of its journal:", *lines]) if lines else ""
    return f"step {failure.step}: {failure}{taken}{said}"


def journal(args: Json) -> list[str]:
    """The last lines that the unit logged, without control characters, each at most 300 characters."""
    status, output = command(
        "journalctl", "-u", args["unit"], "-n", str(JOURNAL_LINES), f"--since=@{args['since']}", "-o", "cat",
        "--no-pager", timeout=20.0,
    )  # fmt: skip
    return [line[:300] for line in output.splitlines() if line.strip()][-JOURNAL_LINES:] if status == 0 else []


def listeners(port: int) -> set[str]:
    """Inodes of the TCP sockets that listen on `port`, from /proc/net/tcp and tcp6 (state 0A is LISTEN)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            with open(table) as stream:
                rows = [line.split() for line in stream][1:]
            found |= {row[9] for row in rows if row[3] == "0A" and int(row[1].rsplit(":", 1)[1], 16) == port}
    return found


def stranger(port: int, unit: str) -> str:
    """Name and process id of who listens on `port` although it does not belong to the unit; "" for nobody."""
    wanted = {f"socket:[{inode}]" for inode in listeners(port)}
    for link in glob.glob("/proc/[0-9]*/fd/*") if wanted else []:
        try:
            if os.readlink(link) not in wanted:
                continue
            process = link.split("/")[2]
            with open(f"/proc/{process}/cgroup") as stream:
                ours = f"/{unit}" in stream.read()
            with open(f"/proc/{process}/comm") as stream:
                name = clean(stream.read(), 40)
        except OSError:  # the process or its descriptor is gone
            continue
        if not ours:
            return f"{name} (process {process})"
    return ""


if __name__ == "__main__":
    serve(globals(), {"gate": gate}, changes=False)
