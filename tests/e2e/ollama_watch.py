"""What a host with Ollama shows of its model: loaded or not, its process, and what the journal got of a request."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from tests.e2e.gateway import Gateway
from tests.e2e.site import Site

LOADED = "curl -s -m 5 http://127.0.0.1:8080/api/ps | grep -q phi-4-mini"
# Lines of the model's process, and of the shell around it in a container.
RUNNER = "pgrep -x llama-server"
# A unit's journal also has what systemd says of it.
LINES = 'journalctl -u phi4-edge -o cat --no-pager --after-cursor "$(cat /run/cursor)"'


def status(site: Site, name: str, code: int | None = None) -> dict[str, Any]:
    """The host's entry in what `status` says."""
    done = site.run("status", "--limit", name, "--output", "json")
    if code is not None:
        done.expect(code)
    found: dict[str, Any] = json.loads(done.out)["hosts"][0]
    return found


def until(site: Site, name: str, good: Callable[[dict[str, Any]], bool], seconds: float = 120) -> list[dict[str, Any]]:
    """All that `status` said until it said what is `good`."""
    end, said = time.monotonic() + seconds, [status(site, name)]
    while not good(said[-1]):
        assert time.monotonic() < end, said[-1]
        said.append(status(site, name))
    return said


def serving(entry: dict[str, Any]) -> bool:
    return str(entry["state"]) == "serving"


def await_load(host: Gateway, seconds: int = 90) -> None:
    """The model is in memory, without a request of ours."""
    host.sh(f"for i in $(seq {seconds * 2}); do {LOADED} && {RUNNER} >/dev/null && exit 0; sleep 0.5; done; exit 1")


def journal_lines(host: Gateway, requests: int) -> list[str]:
    """What the service's journal got of so many requests."""
    host.sh("journalctl -n 1 --show-cursor -q -o cat | sed -n 's/^-- cursor: //p' > /run/cursor")
    for number in range(requests):
        assert host.chat(f"Say {number}.", 8)["usage"]["completion_tokens"] >= 1
    time.sleep(2)
    return host.sh(LINES).splitlines()
