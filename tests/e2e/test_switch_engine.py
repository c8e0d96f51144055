"""Another engine for a host that serves: the old one answers until the new one has, or the plan names the gap."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from phi4_edge import lab as lab_room
from phi4_edge.artifacts.store import manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from tests.e2e import settings
from tests.e2e.gateway import Cli, Gateway
from tests.e2e.site import Site, files_of_model, on_disk, serving_site

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

# 16 GB hold both engines beside each other, 6 GB do not.
LARGE, SMALL = "gw1", "gw2"
ONNX = {"phi4_engine": "onnx"}
OLLAMA = {"phi4_engine": "ollama", "phi4_quantization": "q4_0"}
LOOK = """
while :; do
  code=$(curl -s -o /dev/null -m 2 -w '%{http_code}' http://127.0.0.1:8080/v1/models)
  echo "$(date +%s.%N) $code $(systemctl is-active phi4-edge-rehearsal 2>/dev/null)"
  sleep 0.2
done
"""


@dataclass
class Watch:
    """What a client on the host sees all the time: answers, and whether a rehearsal runs."""

    host: Gateway
    lines: list[tuple[float, bool, bool]] = field(default_factory=list)

    def __enter__(self) -> Watch:
        argv = lab_room.ssh_command(self.host.lab, self.host.lab.host(self.host.name), ["sudo", "sh", "-c", LOOK])
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        while not self.lines:
            time.sleep(0.1)
        return self

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            words = line.split()
            self.lines.append((float(words[0]), words[1] == "200", "active" in words[2:] or "activating" in words[2:]))

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.thread.join()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def dark(self) -> float:
        """Seconds of the longest time without an answer."""
        longest, last = 0.0, self.lines[0][0]
        for moment, answered, _ in self.lines:
            if answered:
                longest, last = max(longest, moment - last), moment
        return longest

    @property
    def served_while_rehearsing(self) -> int:
        return sum(answered and rehearsing for _, answered, rehearsing in self.lines)


@pytest.fixture(scope="module")
def site(ready: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("switch")
    with serving_site(ready, folder, f"switch-{os.getpid()}", ("server-16gb", "gateway-6gb"), ONNX) as found:
        yield found


@pytest.fixture(scope="module")
def gateways(site: Site) -> list[Gateway]:
    return [site.host(LARGE), site.host(SMALL)]


def planned(site: Site) -> dict[str, dict[str, Any]]:
    """The plan of each host of the site, as the inventory is now."""
    plans = json.loads(site.run("plan", "--output", "json").expect(0).out)["plans"]
    return {plan["host"]: plan for plan in plans}


def test_every_knob_is_in_our_own_engine(site: Site) -> None:
    for name, plan in planned(site).items():
        assert plan["engine"] == "onnx"
        settings.check(site.host(name), plan)


def test_the_plan_says_how_the_engine_changes(site: Site) -> None:
    site.write({LARGE: OLLAMA, SMALL: OLLAMA})
    plans = planned(site)
    assert plans[LARGE]["switch"]["mode"] == "beside"
    assert plans[SMALL]["switch"]["mode"] == "down"
    assert plans[SMALL]["switch"]["down_seconds"] > 0
    text = site.run("plan").expect(0).out
    assert "down" in text


def test_the_old_engine_serves_until_the_new_one_has_answered(site: Site) -> None:
    site.write({LARGE: OLLAMA, SMALL: ONNX})
    with Watch(site.host(LARGE)) as watch:
        site.run("provision", "--yes").expect(0)
    assert watch.served_while_rehearsing > 0
    assert watch.dark < 15, watch.dark
    assert site.host(LARGE).receipt()["engine"] == "ollama"
    assert site.host(LARGE).sh("ls /run/systemd/system/phi4-edge-rehearsal.service 2>/dev/null", code=None) == ""


def test_where_memory_holds_one_the_interruption_is_as_announced(site: Site) -> None:
    site.write({LARGE: OLLAMA, SMALL: OLLAMA})
    plan = json.loads(site.run("plan", "--limit", SMALL, "--output", "json").expect(0).out)["plans"][0]
    with Watch(site.host(SMALL)) as watch:
        site.run("provision", "--limit", SMALL, "--yes").expect(0)
    assert watch.served_while_rehearsing == 0
    assert 0 < watch.dark <= plan["switch"]["down_seconds"] + 30, (watch.dark, plan["switch"])


def test_every_knob_is_in_the_process_that_serves(site: Site) -> None:
    site.write({LARGE: OLLAMA, SMALL: OLLAMA})
    for name, plan in planned(site).items():
        settings.check(site.host(name), plan)


def test_the_host_has_the_model_once(site: Site) -> None:
    held = Store(site.cli.store).manifest("tiny/gguf-q4_0")
    (pushed,) = held.files
    for name in (LARGE, SMALL):
        host = site.host(name)
        files = files_of_model(host)
        inode, size = files[f"/var/lib/phi4-edge/models/{held.digest}/{pushed.path}"]
        assert size <= on_disk(files) <= 1.02 * size, files
        blob = next(path for path, found in files.items() if "/blobs/" in path and found[0] == inode)
        assert blob.endswith(f"/sha256-{pushed.sha256}")
        assert host.sh(f"sha256sum {blob}").split()[0] == pushed.sha256


@pytest.mark.full
def test_a_file_that_ollama_writes_otherwise_is_there_once_too(site: Site) -> None:
    held, host = disorder(Store(site.cli.store)), site.host(SMALL)
    (pushed,) = held.files
    model = f"/var/lib/phi4-edge/models/{held.digest}"
    site.run("provision", "--limit", SMALL, "--yes").expect(0)
    files = files_of_model(host)
    assert f"{model}.json" in files and f"{model}/{pushed.path}" not in files
    made = next(path for path, found in files.items() if found[1] == pushed.size)
    assert pushed.sha256 not in made
    # The store of the release before is another model's.
    assert on_disk(files) <= 2.04 * pushed.size
    again = site.run("provision", "--limit", SMALL, "--yes", "--output", "json").expect(0)
    assert again.outcomes() == {SMALL: "unchanged"}
    site.run("status", "--limit", SMALL).expect(0)
    # Other variants: another store, out of what the first one has; nothing is pushed.
    site.write({LARGE: OLLAMA, SMALL: {**OLLAMA, "phi4_variants": '{"phi4-mini-coder": null}'}})
    site.run("provision", "--limit", SMALL, "--yes").expect(0)
    files = files_of_model(host)
    assert f"{model}/{pushed.path}" not in files
    assert on_disk(files) <= 1.04 * pushed.size, "both stores share what Ollama wrote"
    assert host.chat("Say hello.", 8)["usage"]["completion_tokens"] >= 1
    site.run("rollback", "--limit", SMALL, "--yes").expect(0)
    assert host.chat("Say hello.", 8)["usage"]["completion_tokens"] >= 1
    site.write({LARGE: OLLAMA, SMALL: OLLAMA})
    site.run("provision", "--limit", SMALL, "--yes").expect(0)


@pytest.mark.full
def test_an_engine_that_does_not_answer_takes_over_nowhere(site: Site) -> None:
    break_model(Store(site.cli.store))
    served = {name: site.host(name).receipt() for name in (LARGE, SMALL)}
    site.write({LARGE: ONNX, SMALL: ONNX})
    with Watch(site.host(LARGE)) as watch:
        done = site.run("provision", "--yes", "--output", "json").expect(4)
    reasons = {host["host"]: host["reason"] for host in done.result["hosts"]}
    assert "rehearsal" in reasons[LARGE], reasons[LARGE]
    assert "back on" in reasons[SMALL], reasons[SMALL]
    assert watch.dark < 3, "it was never switched, so it was never interrupted"
    for name, receipt in served.items():
        assert site.host(name).receipt() == receipt
        assert site.host(name).chat("Say hello.", 8)["usage"]["completion_tokens"] >= 1
    site.run("status").expect(0)


def disorder(store: Store) -> Manifest:
    """The store's GGUF is the same model with its first two keys changed in place, which llama-quantize puts last."""
    from tests.standins.standin_ollama.gguf import REWRITTEN, Gguf

    found = store.manifest("tiny/gguf-q4_0")
    with store.workspace("disorder") as work:
        folder = work / "model"
        shutil.copytree(store.path(found.digest), folder)
        (folder / manifest.NAME).unlink()
        file = folder / "model.gguf"
        with file.open("rb") as stream:
            one = Gguf(stream)
        data = file.read_bytes()
        spans = [one.spans[key] for key in REWRITTEN] + [one.spans[key] for key in one.spans if key not in REWRITTEN]
        pairs = b"".join(data[start:end] for start, end in spans)
        file.write_bytes(data[: one.pairs_start] + pairs + data[one.pairs_end :])
        store.adopt(folder, dataclasses.replace(found, files=manifest.describe(folder)))
    return store.manifest("tiny/gguf-q4_0")


def break_model(store: Store) -> None:
    """The store's ONNX model is another one: whole, checksummed, and of no use to any engine."""
    found = store.manifest("tiny/onnx-int4")
    with store.workspace("broken") as work:
        folder = work / "model"
        shutil.copytree(store.path(found.digest), folder)
        (folder / manifest.NAME).unlink()
        (folder / "model.onnx").write_bytes(b"not a model" * 1000)
        store.adopt(folder, dataclasses.replace(found, files=manifest.describe(folder)))
