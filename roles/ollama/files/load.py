"""Keeps Ollama's model loaded: after each start, after its process was killed, after a client had it unloaded.

A unit of its own beside the service, so that nothing waits for a load. It lies in the release and takes what it needs
from the release's plan. Python 3.8 or newer, standard library only, any user.

Ollama loads with the first request, and names a process that was killed under /api/ps until the next one. So it is not
asked: the process that holds the model is looked at, and once there is none a request without a prompt loads the model.
systemd's status line of the unit says how it stands, in the words that `status_line` makes.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import socket
import sys
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

Json = Dict[str, Any]

PROC, CGROUP = "/proc", "/sys/fs/cgroup"
RUNNER = "llama-server"
UNIT = "phi4-edge.service"
# As `phi4_edge.core.engines.confinement` has it: nobody else on the host is this user.
CONTAINER_USER = 65532
CONTAINER = re.compile(r"(?:docker-)?[0-9a-f]{64}(?:\.scope)?")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised here, never listened on
LOOK_SECONDS = 1.0  # where the kernel cannot tell that a process has ended
SETTLE_SECONDS = 0.5  # Ollama forgets a model that it unloads after it has ended its process
OTHERS_SECONDS = 6.0  # a client whose options need another process has that started within this time
BLIND_SECONDS = 60.0  # between two requests where processes cannot be seen
ASK_SECONDS = 10.0
LOAD_SECONDS = 3600.0  # 16 GB from a card at 10 MB/s take half an hour
FIRST_PAUSE, PAUSE_FOR_START, PAUSE_FOR_LOAD = 1.0, 4.0, 300.0  # after a try: the first, and the longest of each kind
NO_ANSWER = "the service does not answer yet"
# What answers on the port while a container goes or comes, or something else altogether.
NO_OLLAMA = "what answers is not Ollama"
ANSWER_LIMIT = 1 << 20


class Wish(NamedTuple):
    """What shall be loaded, and where to ask for it."""

    address: str
    port: int
    model: str
    containers: bool


class Runner(NamedTuple):
    """A process that holds a model: its number, its start in ticks since boot, its control group, kills there."""

    pid: int
    start: str
    group: str
    kills: int


def wish_of(plan: Json) -> Wish:
    """The wish of a release's plan."""
    bind = str(plan["bind"])
    compose = plan["service_manager"] == "compose"
    return Wish(EVERYWHERE.get(bind, bind), int(plan["port"]), str(plan["model"]["served_name"]), compose)


def read(path: str) -> str:
    """A small file of the kernel's, "" where it is gone or hidden."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(65536)
    except OSError:
        return ""


def start_of(pid: int) -> str:
    """When a process was started, "" when there is none: a number alone may be another process's by now."""
    words = read("%s/%d/stat" % (PROC, pid)).rpartition(")")[2].split()
    return words[19] if len(words) > 19 and words[0] not in ("Z", "X") else ""


def group_of(pid: int, wish: Wish) -> Optional[str]:
    """The directory of the process's memory control group, "" without one; None for a process that is not ours."""
    lines = [line.split(":", 2) for line in read("%s/%d/cgroup" % (PROC, pid)).splitlines() if line.count(":") >= 2]
    if not any(ours(path.split("/"), pid, wish) for _number, _names, path in lines):
        return None
    for _number, names, path in lines:
        if "memory" in names.split(","):
            return CGROUP + "/memory" + path
    return next((CGROUP + path for _number, names, path in lines if not names), "")


def ours(parts: List[str], pid: int, wish: Wish) -> bool:
    """Whether a control group is that of the service. A user may give the unit's name to units of his own."""
    if not wish.containers:
        return UNIT in parts and "user.slice" not in parts
    try:
        user = os.stat("%s/%d" % (PROC, pid)).st_uid
    except OSError:
        return False
    return user == CONTAINER_USER and any(map(CONTAINER.fullmatch, parts))


def kills_in(group: str) -> int:
    """How many processes of a control group were killed for want of memory, as the kernel counts them."""
    text = read(group + "/memory.events") or read(group + "/memory.oom_control") if group else ""
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found.group(1)) if found else 0


def runners(wish: Wish) -> Iterator[Runner]:
    """The processes of the service that hold a model."""
    for name in os.listdir(PROC):
        if not name.isdigit() or read("%s/%s/comm" % (PROC, name)).strip() != RUNNER:
            continue
        group, start = group_of(int(name), wish), start_of(int(name))
        if group is not None and start:
            yield Runner(int(name), start, group, kills_in(group))


def await_end(runner: Runner) -> None:
    """The process has ended. The kernel says so where it can, else it is looked for again and again."""
    handle = -1
    with contextlib.suppress(AttributeError, OSError):  # Python before 3.9, a kernel before 5.3
        handle = os.pidfd_open(runner.pid)  # type: ignore[attr-defined,unused-ignore]
    try:
        poll = select.poll()
        if handle >= 0:
            poll.register(handle, select.POLLIN)
        while start_of(runner.pid) == runner.start:
            poll.poll(None if handle >= 0 else LOOK_SECONDS * 1000)
    finally:
        if handle >= 0:
            os.close(handle)


def ask(wish: Wish, method: str, path: str, body: Optional[Json], seconds: float) -> Tuple[int, Json]:
    """Status and document of one request. Raises OSError or ValueError where there is none."""
    connection = http.client.HTTPConnection(wish.address, wish.port, timeout=seconds)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
        response = connection.getresponse()
        found = json.loads(response.read(ANSWER_LIMIT).decode("utf-8", "replace"))
        return response.status, found if isinstance(found, dict) else {}
    except http.client.HTTPException as error:
        if isinstance(error, ConnectionError):
            raise
        raise OSError("no HTTP answer: %r" % error) from None
    finally:
        connection.close()


def listed(wish: Wish) -> bool:
    """Whether Ollama believes that a model is loaded."""
    try:
        status, report = ask(wish, "GET", "/api/ps", None, ASK_SECONDS)
    except (OSError, ValueError):
        return False
    return status == 200 and bool(report.get("models"))


def loaded(wish: Wish) -> str:
    """Why the model could not be loaded, or ""; it then stays until somebody has it unloaded."""
    body = {"model": wish.model, "keep_alive": -1, "stream": False}
    try:
        status, report = ask(wish, "POST", "/api/generate", body, LOAD_SECONDS)
    except ConnectionError:  # nobody listens, or only what publishes the port of a container that starts
        return NO_ANSWER
    except ValueError:
        return NO_OLLAMA
    except OSError as error:
        return one_line(str(error) or type(error).__name__)
    return "" if status == 200 else one_line("HTTP %d: %s" % (status, report.get("error")))


def one_line(text: str) -> str:
    """A text for a status line: printable, one line, bounded."""
    return re.sub(r"[^ -~]+", " ", text)[:200]


class Keeper:
    """Loads and watches, and says how it stands."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.kills = self.memory_kills = 0
        self.last = ""

    def run(self) -> None:
        """Never ends by itself."""
        while True:
            found = next(runners(self.wish), None)
            if found is None:
                self.load()
                found = next(runners(self.wish), None)
            else:
                self.adopt(found)
            self.say("loaded")
            if found is None:
                time.sleep(BLIND_SECONDS)
                continue
            await_end(found)
            self.ended(found)

    def adopt(self, runner: Runner) -> None:
        """A model that somebody else has loaded is there, or its process has ended."""
        self.say("loading")
        while start_of(runner.pid) == runner.start and not listed(self.wish):
            time.sleep(LOOK_SECONDS)

    def load(self) -> None:
        """The model is loaded, however often it has to be tried."""
        pause, why, began = FIRST_PAUSE, "", time.monotonic()
        self.say("loading")
        while True:
            found = loaded(self.wish)
            if not found:
                tell("%s is loaded after %.1f s" % (self.wish.model, time.monotonic() - began))
                return
            longest = PAUSE_FOR_START if found in (NO_ANSWER, NO_OLLAMA) else PAUSE_FOR_LOAD
            pause = FIRST_PAUSE if found != why else min(2 * pause, longest)
            if found != why:
                tell("%s is not loaded: %s" % (self.wish.model, found))
                self.say("loading", found)
            why = found
            time.sleep(pause)

    def ended(self, runner: Runner) -> None:
        """Why the process has ended is told; where a client had it replaced there is time for that."""
        self.say("loading")
        time.sleep(SETTLE_SECONDS)
        starved = kills_in(runner.group) > runner.kills
        if starved or (next(runners(self.wish), None) is None and listed(self.wish)):
            self.kills += 1
            self.memory_kills += starved
            self.last = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            why = "for want of memory" if starved else "by a signal, or crashed"
            tell("the process of the model was ended %s (%d times since this unit started)" % (why, self.kills))
            self.say("loading")
            return
        end = time.monotonic() + OTHERS_SECONDS
        while time.monotonic() < end and next(runners(self.wish), None) is None:
            time.sleep(SETTLE_SECONDS)

    def say(self, state: str, why: str = "") -> None:
        """systemd's status line of the unit says it."""
        notify("STATUS=" + status_line(state, self.kills, self.memory_kills, self.last, why))


def status_line(state: str, kills: int, memory_kills: int, last: str, why: str) -> str:
    """How it stands, in words that `phi4_edge.core.loader` reads."""
    killed = "runner killed %d times, %d for want of memory, last %s" % (kills, memory_kills, last or "never")
    return "%s; %s%s" % (state, killed, "; " + why if why else "")


def notify(text: str) -> None:
    """systemd hears it, where this is a unit of its."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way, contextlib.suppress(OSError):
        way.sendto(text.encode(), "\0" + place[1:] if place[0] == "@" else place)


def tell(text: str) -> None:
    """One line of the unit's journal."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "plan.json"), encoding="utf-8") as plan_file:
        wanted = wish_of(json.load(plan_file))
    try:
        Keeper(wanted).run()
    except KeyboardInterrupt:
        sys.exit(0)
