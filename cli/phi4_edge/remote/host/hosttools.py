"""External tools on the host, bounded in time and size, and other helpers: what probe and doctor ask with.

Python 3.8, standard library. A tool that is missing, hangs, prints without end or fails is a Gap.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import stat
import subprocess
import threading
import time
from typing import Any, Callable, Dict, Iterable

from hostpath import search_path

TOOL_SECONDS = 5  # a healthy tool answers in well under one; a wedged driver never does
OUTPUT_LIMIT = 32 * 1024


class Gap(Exception):  # noqa: N818  (no error: an answer)
    """A source that has no text: kind (missing, timeout, failed, nonsense, denied) and a short detail."""


def clean(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\ufffd", "?")


def communicate(process: subprocess.Popen[bytes], seconds: float) -> tuple[str, str]:
    """What both pipes give within the limits of time and size; no grandchild that keeps them open is waited for."""
    out, err = process.stdout, process.stderr
    got: Dict[Any, bytes] = {pipe: b"" for pipe in (out, err) if pipe is not None}
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for pipe in got:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ended = process.poll() is not None
            ready = selector.select(0 if ended else min(0.2, max(0, end - time.monotonic())))
            for key, _ in ready:
                chunk = os.read(key.fd, 65536)
                got[key.fileobj] += chunk
                if not chunk:
                    selector.unregister(key.fileobj)
                if len(got[key.fileobj]) > OUTPUT_LIMIT:
                    raise Gap("nonsense", "printed more than %d bytes" % OUTPUT_LIMIT)
            if time.monotonic() > end:
                raise Gap("timeout", "no answer in %d s" % seconds)
            if ended and not ready:
                break
    try:
        process.wait(max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise Gap("timeout", "no end in %d s" % seconds) from None
    return clean(got.get(out, b"")), clean(got.get(err, b""))


def run(*argv: str) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of a tool; its whole process group is gone afterwards."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            env=dict(os.environ, PATH=search_path(), LC_ALL="C"),
        )
    except FileNotFoundError:
        raise Gap("missing", argv[0]) from None
    try:
        out, err = communicate(process, TOOL_SECONDS)
        return process.returncode, out, err
    finally:
        with contextlib.suppress(OSError):  # the group is empty: every member ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in a driver: not even SIGKILL ends it
            process.wait(1)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def tool(*argv: str) -> str:
    status, out, err = run(*argv)
    if status or not out.strip():
        raise failure(status, out, err)
    return out


class Once:
    """A source's text for several that need it at the same time: asked for once, a Gap for all where it is one."""

    def __init__(self, source: Callable[[], str]) -> None:
        self.source, self.lock = source, threading.Lock()
        self.said: Any = None

    def __call__(self) -> str:
        with self.lock:
            if self.said is None:
                try:
                    self.said = self.source()
                except Gap as gap:
                    self.said = gap
        if isinstance(self.said, Gap):
            raise Gap(*self.said.args)
        return str(self.said)


def failure(status: int, out: str, err: str) -> Gap:
    """What a tool said that gave no answer."""
    said = (err.strip() or out.strip())[:200]
    return Gap("denied" if "permission denied" in said.lower() else "failed", "exit status %d: %s" % (status, said))


def standing(path: str) -> str:
    """What is where our files go: nothing we could not use (ours), or a link, a file, another user's directory."""
    if not os.path.lexists(path):
        return "ours"
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        return "link" if stat.S_ISLNK(status.st_mode) else "file"
    return "user" if status.st_uid not in (0, os.geteuid()) else "ours"


def ranges(numbers: Iterable[int]) -> str:
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(low) if low == high else "%d-%d" % (low, high) for low, high in spans)
