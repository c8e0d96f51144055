"""What an engine takes of its host while it is measured, and the record of what came of that, beside the receipt.

Runs on the host; Python 3.8, standard library.
"""

from __future__ import annotations

import os
import re
import time
from typing import Dict, List, Tuple

import hostdocker
from hostlib import HostError, Json, read_json, write_json
from hostrun import command, serve

CGROUPS = "/sys/fs/cgroup"
POLL_SECONDS, GPU_SECONDS = 0.1, 1.0  # a GPU is asked by a program of its own
MOST_SECONDS = 1800.0
MIB = 1 << 20
MEMORY = {"anon", "file_mapped"}  # of version 2
MEMORY_1 = {"total_rss", "total_mapped_file"}


def usage(args: Json, _payload: bytes) -> Json:
    """What the engine takes within `seconds`: most memory (bytes), mean time of a core, and most of its GPU's memory.

    `counted`: whether the kernel counts a service's memory at all; -1 for what nobody counts. Memory is what the engine
    holds: files that it has merely read do not count.
    """
    groups, top, gpu = memberships(main_pid(args)), args.get("top") or CGROUPS, str(args.get("gpu") or "")
    end = time.monotonic() + min(float(args["seconds"]), MOST_SECONDS)
    began, first, most, most_gpu = time.monotonic(), busy(groups, top), -1, -1
    while True:
        most, most_gpu = max(most, held(groups, top)), max(most_gpu, on_gpu(gpu))
        left = end - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(GPU_SECONDS if gpu else POLL_SECONDS, left))
    last, seconds = busy(groups, top), time.monotonic() - began
    share = round((last - first) / max(seconds, 1e-3), 4) if min(first, last) >= 0 else -1
    return {"counted": most >= 0, "memory": most, "vram": most_gpu, "cpu": share}


def main_pid(args: Json) -> int:
    """The engine's process: of its unit, or of its container. Raises HostError without one."""
    if args["compose"]:
        running = [
            item
            for item in hostdocker.inspect(args["project"])
            if ((item.get("Config") or {}).get("Labels") or {}).get("phi4-edge.release")
            and (item.get("State") or {}).get("Status") == "running"
        ]
        pid = int((running[0].get("State") or {}).get("Pid") or 0) if len(running) == 1 else 0
    else:
        status, output = command("systemctl", "show", args["unit"], "-p", "MainPID", "--value")
        pid = int(output) if status == 0 and output.isdigit() else 0
    if not pid:
        raise HostError(f"found no process of {args['unit']}, needed the engine to run: see systemctl status there")
    return pid


def memberships(pid: int) -> Dict[str, str]:
    """The control group of a process by controller, "" for version 2. Raises HostError when it has ended."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as stream:
            lines: List[List[str]] = [line.rstrip("\n").split(":", 2) for line in stream]
    except OSError:
        raise HostError("the engine has ended: see journalctl -u phi4-edge there") from None
    return {name: words[2] for words in lines if len(words) == 3 for name in words[1].split(",")}


def counted(groups: Dict[str, str], top: str, controller: str, names: Tuple[str, str]) -> Tuple[str, bool]:
    """What a file of the group says, and whether it is one of version 2; "" where there is none."""
    for text, place, version_2 in (
        (names[0], top + groups.get("", "/none"), True),
        (names[0], f"{top}/unified" + groups.get("", "/none"), True),
        (names[1], f"{top}/{controller}" + groups.get(controller, "/none"), False),
    ):
        try:
            with open(os.path.join(place, text), encoding="ascii", errors="replace") as stream:
                return stream.read(65536), version_2
        except OSError:
            continue
    return "", True


def held(groups: Dict[str, str], top: str) -> int:
    """Bytes that the processes of the group have of their own and of files that they map; -1: not counted."""
    text, version_2 = counted(groups, top, "memory", ("memory.stat", "memory.stat"))
    wanted = MEMORY if version_2 else MEMORY_1
    found = [int(size) for name, size in re.findall(r"(?m)^(\w+) (\d+)$", text) if name in wanted]
    return sum(found) if len(found) == len(wanted) else -1


def busy(groups: Dict[str, str], top: str) -> float:
    """Seconds of a processor that the group has used; -1: not counted."""
    text, version_2 = counted(groups, top, "cpuacct", ("cpu.stat", "cpuacct.usage"))
    found = re.search(r"(?m)^usage_usec (\d+)$" if version_2 else r"^(\d+)$", text)
    return int(found.group(1)) / (1e6 if version_2 else 1e9) if found else -1.0


def on_gpu(gpu: str) -> int:
    """Bytes in use of the GPU with this UUID; -1: not known."""
    if not gpu:
        return -1
    status, output = command("nvidia-smi", "--query-gpu=uuid,memory.used", "--format=csv,noheader,nounits", timeout=10)
    rows = [line.split(", ") for line in output.splitlines()] if status == 0 else []
    used = [row[1] for row in rows if len(row) == 2 and row[0] == gpu and row[1].isdigit()]
    return int(used[0]) * MIB if used else -1


def keep(args: Json, _payload: bytes) -> Json:
    """The record lies beside the receipt. Raises HostError when another release serves than the one it is of."""
    state = str(args["state"])
    receipt = read_json(os.path.join(state, "receipt.json"))
    release = receipt.get("release") if isinstance(receipt, dict) else None
    if release != args["release"]:
        raise HostError(f"found release {release}, needed {args['release']}, which was measured: measure again")
    path = os.path.join(state, "bench.json")
    if read_json(path) == args["record"]:
        return {"changed": False}
    write_json(path, args["record"])
    return {"changed": True}


if __name__ == "__main__":
    serve(globals(), {"usage": usage, "keep": keep}, changes=globals()["ARGS"]["do"] == "keep")
