"""Which models are loaded, in a process of their own each, and how many requests run or wait (server/sched.go).

Nothing is loaded before the first request. A model is loaded once for all names that share its weights; /api/ps shows
the name that was loaded first, and a model from the moment on at which its loading begins.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

from . import create, names, settings
from .create import RefusedError
from .models import Model, stamp

Json = dict[str, Any]
BUSY = "server busy, please try again.  maximum pending requests exceeded"
STOPPED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check ollama "
    "server logs for details"
)
# What a runner is started with: a request that differs in one of them has the model loaded again.
RUNNER = ("num_ctx", "num_batch", "num_gpu", "num_thread", "use_mmap", "shift")


def settings_of(options: Json) -> Json:
    """The options that a runner is started with."""
    found = {name: options[name] for name in RUNNER if name in options}
    return {**found, "num_ctx": max(4, options["num_ctx"])}


class Runner:
    """A llama-server and who uses it; `model` is the one that it was loaded for."""

    def __init__(self, model: Model, options: Json) -> None:
        self.model, self.settings = model, settings_of(options)
        self.parallel = max(1, settings.number("OLLAMA_NUM_PARALLEL", 1))
        self.users, self.loading, self.expires = 1, True, 0.0
        server = create.beside("llama-server")
        if not os.access(server, os.X_OK):
            raise RefusedError(f"llama-server unavailable: {server} not found")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        context = self.settings["num_ctx"]
        words = ["--model", model.blob, "--port", self.port, "--ctx-size", context * self.parallel]
        words += ["--parallel", self.parallel, "--cache-type-k", settings.var("OLLAMA_KV_CACHE_TYPE") or "f16"]
        words += ["--threads", self.settings["num_thread"]] if self.settings.get("num_thread") else []
        self.process = subprocess.Popen([server, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.size = model.blob.stat().st_size + 131072 * context

    def alive(self) -> bool:
        """Whether it answers: one that was killed may not be gone from the table of processes yet."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}/health", timeout=10):
                return True
        except OSError:
            return False

    def wait(self) -> None:
        """The model is loaded. Raises RefusedError for a process that ended instead."""
        while self.process.poll() is None:
            if self.alive():
                return
            time.sleep(0.05)
        raise RefusedError(f"llama runner process has terminated: exit status {self.process.returncode}")

    def complete(self, request: Json) -> Iterator[Json]:
        """Pieces of an answer. Raises RefusedError when the process ends before it is whole."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/completion", json.dumps(request).encode())
        try:
            with opener.open(asked, timeout=3600) as answer:
                for line in answer:
                    piece = json.loads(line)
                    yield piece
                    if piece["done"]:
                        return
        except (OSError, ValueError, HTTPException):
            raise RefusedError(STOPPED) from None
        raise RefusedError(STOPPED)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()


class Scheduler:
    """All runners, by the weights that they hold."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = 0
        self.loaded: dict[str, Runner] = {}
        threading.Thread(target=self._expire, daemon=True).start()

    @contextmanager
    def run(self, model: Model, options: Json, keep: float) -> Iterator[Runner]:
        """The model is loaded while this lasts. Raises RefusedError when too many wait, or it cannot be loaded."""
        with self._changed:
            if self._waiting >= settings.number("OLLAMA_MAX_QUEUE", 512):
                raise RefusedError(BUSY, 503)
            self._waiting += 1
        try:
            runner = self._taken(model, options)
            try:
                yield runner
            finally:
                with self._changed:
                    runner.users -= 1
                    runner.expires = time.time() + keep
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._waiting -= 1

    def _taken(self, model: Model, options: Json) -> Runner:
        key = str(model.blob)
        with self._changed:
            while True:
                runner = self.loaded.get(key)
                if runner is None and self._room():
                    runner = self.loaded[key] = Runner(model, options)
                    break
                if runner is not None and not runner.loading:
                    same = runner.alive() and runner.settings == settings_of(options)
                    if same and runner.users < runner.parallel:
                        runner.users += 1
                        return runner
                    if not same and not runner.users:
                        self._end(key)
                        continue
                self._changed.wait(0.1)
        return self._started(key, runner)

    def _started(self, key: str, runner: Runner) -> Runner:
        try:
            runner.wait()
        except RefusedError:
            with self._changed:
                self._end(key)
            raise
        with self._changed:
            runner.loading = False
            self._changed.notify_all()
        return runner

    def _room(self) -> bool:
        """Whether one more may be loaded; the idle one that would end first makes room for it."""
        most = settings.number("OLLAMA_MAX_LOADED_MODELS", 0) or 3
        if len(self.loaded) < most:
            return True
        idle = [key for key, one in self.loaded.items() if not one.users]
        if idle:
            self._end(min(idle, key=lambda key: self.loaded[key].expires))
        return len(self.loaded) < most

    def _end(self, key: str) -> None:
        runner = self.loaded.pop(key, None)
        if runner is not None:
            runner.end()
            self._changed.notify_all()

    def _expire(self) -> None:
        """What is over its time goes."""
        while True:
            time.sleep(0.1)
            with self._changed:
                for key, one in list(self.loaded.items()):
                    if not one.users and one.expires <= time.time():
                        self._end(key)

    def unload(self, model: Model) -> None:
        """The model goes as soon as nobody uses it."""
        with self._changed:
            runner = self.loaded.get(str(model.blob))
            if runner is not None:
                runner.expires = 0.0
                if not runner.users:
                    self._end(str(model.blob))

    def close(self) -> None:
        with self._changed:
            for key in list(self.loaded):
                self._end(key)

    def processes(self) -> list[Json]:
        """What /api/ps says."""
        with self._changed:
            found = sorted(self.loaded.values(), key=lambda one: -one.expires)
        return [
            {
                "name": one.model.name.short(), "model": one.model.name.short(), "size": one.size,
                "digest": one.model.digest, "details": one.model.details(),
                "size_vram": one.size if settings.gpu_visible() else 0,
                "expires_at": stamp(one.expires or time.time() + names.FOREVER),
                "context_length": one.settings["num_ctx"],
            }
            for one in found
        ]  # fmt: skip
