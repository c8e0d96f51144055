"""Runs the probe as a script on this machine, below a folder that stands for "/" where a test asks for one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from phi4_edge.core.layout import STANDARD
from phi4_edge.remote import framing, scripts

SCRIPT = scripts.composed("probe", "probe")
NONCE = "n0nce"


def probe(root: Path | None = None, path: str = "/usr/bin:/bin", **args: Any) -> dict[str, Any]:
    line = framing.command(sys.executable, NONCE, SCRIPT)
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        input=framing.stdin(SCRIPT, {"root": str(root) if root else "", "layout": STANDARD.to_dict(), **args}),
        capture_output=True,
        check=False,
        env={"PATH": path},
    )
    assert done.stderr == b""
    assert done.returncode == 0
    document = framing.parse(done.stdout.decode(), NONCE)
    assert document["format"] == "phi4-edge/facts/1"
    sources: dict[str, Any] = document["sources"]
    return sources


def place(root: Path, name: str, text: str | bytes) -> Path:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path
