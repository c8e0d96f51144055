"""Builds the images of the lab's hosts that `make test` needs, while that is at something else.

They take minutes, on one core, and whoever wants a lab first waits for its own. As a program, without arguments.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

from phi4_edge.lab import docker, image, model

# Kind and system ("": the newest), in the order in which the tests want them.
WANTED = (("bare", ""), ("docker", ""), ("mirror", ""), ("docker", "debian-11"))


def build() -> None:
    """The Docker engine has every image. Raises LabError."""
    lock: Path = model.labs_directory()
    lock.mkdir(parents=True, exist_ok=True, mode=0o700)
    with docker.connect() as client:
        for kind, system in WANTED:
            image.ensure(client, kind, system, lock, lambda text: sys.stdout.write(f"{text}\n"))


def interrupted(_number: int, _frame: FrameType | None) -> None:
    """What was begun is taken away, as after Ctrl-C, which a job in the background does not hear."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupted)
    try:
        build()
    except KeyboardInterrupt:
        sys.exit(130)
