#!/usr/bin/python3
"""Stands for the python3 of a gateway whose root is hostile, in what concerns the lock.

Each line of /etc/phi4-edge-hostile is `BEHAVIOUR OPERATION`; every other operation is done as asked. It leaves out what
a hostile root could do beside answering, such as attacking ssh.
"""

import base64
import json
import os
import sys
import time
import zlib
from pathlib import Path

REAL = "/usr/bin/python3"
HOLDER = {
    "present": True, "state": "held", "id": "x", "user": "{{ lookup('pipe', 'id') }}\x1b[2J", "host": "hq", "pid": 1,
    "operation": "provision", "version": "0", "started": "2026-11-28T00:00:00Z", "age": 1.0, "left": 29.0,
    "controller": None,
}  # fmt: skip
ANSWERS = {
    "held": {"state": "held", "holder": HOLDER, "waited": 0.0},
    "odd": {"state": "held", "holder": ["nobody"], "waited": "long"},
    "liar": {"state": "free"},
}


def main() -> None:
    arguments = sys.argv[1:]
    if len(arguments) < 5 or arguments[:2] != ["-ISB", "-c"]:
        os.execv(REAL, [REAL, *arguments])
    data = sys.stdin.buffer
    script, line = data.read(int(arguments[4])), data.readline()
    rows = Path("/etc/phi4-edge-hostile").read_text().splitlines()
    wanted = dict(reversed(row.split()) for row in rows)
    behaviour = wanted.get(json.loads(line).get("do"))
    if behaviour is None:
        genuine(arguments, script + line + data.read())
    elif behaviour in ANSWERS:
        packed = base64.b64encode(zlib.compress(json.dumps(ANSWERS[behaviour]).encode())).decode()
        os.write(1, f"\n{arguments[3]}:BEGIN\n{packed}\n{arguments[3]}:END\n".encode())
    while behaviour in ("flood", "drip", "silent"):
        if behaviour != "silent":
            os.write(1, b"A" * (65536 if behaviour == "flood" else 1))
        time.sleep(0 if behaviour == "flood" else 1)


def genuine(arguments: "list[str]", given: bytes) -> None:
    """What was asked, by the real one; the answer goes where it should."""
    read, write = os.pipe()
    if not os.fork():
        os.dup2(read, 0)
        os.close(write)
        os.execv(REAL, [REAL, *arguments])
    os.close(read)
    with os.fdopen(write, "wb") as stream:
        stream.write(given)
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))


main()
