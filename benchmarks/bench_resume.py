"""B8: a transfer that is cut at its half, in two ways: our command is killed, and all SSH connections of the host are.

What counts is what crosses the wire in the end, against a transfer that nobody cut.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from pathlib import Path

import big_model
import harness
import processes
from bench_push import MIB, provision
from big_model import BigModel
from harness import BenchError, Done
from verdict import Limit, limits_document, show_limits, table, write

from phi4_edge.lab import Lab

PIECE = 16 * MIB  # artifact_piece_bytes
LOOK_SECONDS, LONGEST = 0.1, 900
RECEIVED = "cat /sys/class/net/eth0/statistics/rx_bytes"
# The connections of SSH end as if the network had; the server stays.
CUT = "for pid in $(pgrep -f '^sshd(-session)?: '); do test $pid = $(cat /run/sshd.pid) || kill -9 $pid || true; done"


def main() -> None:
    chosen = harness.options("Cut a transfer", pairs=3, size=256)
    with harness.own_lab("resume", 1) as lab, harness.workplace() as folder:
        model = big_model.make(folder, chosen.size * MIB)
        harness.provisioned(lab)
        harness.finish(provision(lab, model))  # the release; from now on only the model lacks
        runs: dict[str, list[int]] = {"not cut": [], "command killed": [], "connections cut": []}
        for turn in range(chosen.pairs):
            for name, found in runs.items():
                found.append(_transfer(lab, model, name, folder))
                harness.say(f"{turn + 1}/{chosen.pairs}  {name}: {found[-1] / MIB:.1f} MiB received")
        _objects(lab, model)
    whole = statistics.median(runs["not cut"])
    limits = [
        Limit(f"sent twice, {name}", max(found) * model.size / whole - model.size, PIECE, " B")
        for name, found in runs.items()
        if name != "not cut"
    ]
    rows = [{"run": name, "received (MiB)": [round(one / MIB, 1) for one in found]} for name, found in runs.items()]
    print(f"\nB8 {chosen.size} MiB to one host, cut at half")
    table([("run", "received, MiB"), *((str(row["run"]), str(row["received (MiB)"])) for row in rows)])
    show_limits(limits, chosen.full)
    document = limits_document(limits, chosen.full)
    title = f"B8 {chosen.size} MiB to one host, cut at its half"
    write("resume", {"title": title, "hosts": 1, "full": chosen.full, "rows": rows, "limits": document})


def _transfer(lab: Lab, model: BigModel, how: str, folder: Path) -> int:
    """Bytes that the host received until it had the whole model and served it."""
    host = lab.hosts[0].name
    harness.on_host(lab, host, f"rm -rf {model.on_host} {model.on_host}.json /var/lib/phi4-edge/staging/*; sync")
    side, before = provision(lab, model), _received(lab)
    if how != "not cut":
        environment = {**os.environ, **side.environment, "PHI4_EDGE_STATE": str(folder / "state")}
        with (folder / "output").open("wb") as out:
            process = subprocess.Popen(
                side.command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
            try:
                _await_half(lab, process, before + model.size // 2)
                if how == "command killed":
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    harness.on_host(lab, host, CUT)
                process.wait(timeout=LONGEST)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        processes.end_leftovers()
    if how == "connections cut" and process.returncode == 0:
        side.check(Done([], 0, "", ""))
    else:
        side.check(harness.finish(side))
    return _received(lab) - before


def _await_half(lab: Lab, process: subprocess.Popen[bytes], wanted: int) -> None:
    end = time.monotonic() + LONGEST
    while _received(lab) < wanted:
        if process.poll() is not None or time.monotonic() > end:
            raise BenchError("the transfer was over before its half, or never came to it: choose a larger --size")
        time.sleep(LOOK_SECONDS)


def _received(lab: Lab) -> int:
    return int(harness.on_host(lab, lab.hosts[0].name, RECEIVED))


def _objects(lab: Lab, model: BigModel) -> None:
    """The check sees a byte that is another one."""
    flip = f"printf FLIP | dd of={model.on_host}/{big_model.FILE} bs=1 seek={model.size // 2} conv=notrunc status=none"
    harness.on_host(lab, lab.hosts[0].name, flip)
    try:
        provision(lab, model).check(Done([], 0, "", ""))
    except BenchError:
        return
    raise BenchError("the check passes on a model of which a byte is another one")


if __name__ == "__main__":
    harness.start(main)
