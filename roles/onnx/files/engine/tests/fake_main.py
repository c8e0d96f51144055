"""The real service with the fake worker: `python fake_main.py`.

FAKE_STALL, FAKE_DRAIN, FAKE_HEADER, FAKE_BODY, FAKE_WRITE and FAKE_COMMENT are limits in seconds.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from unittest import mock

from phi4_engine import activation, connections, pulse, server, settings, transport
from phi4_engine.errors import EngineError


def main() -> int:
    """As phi4_engine.__main__, without a model directory to look at."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s: %(message)s")
    stall = float(os.environ.get("FAKE_STALL", "60"))
    drain = float(os.environ.get("FAKE_DRAIN", "10"))
    header = float(os.environ.get("FAKE_HEADER", connections.HEADER_SECONDS))
    body = float(os.environ.get("FAKE_BODY", transport.BODY_SECONDS))
    write = float(os.environ.get("FAKE_WRITE", connections.WRITE_SECONDS))
    comment = float(os.environ.get("FAKE_COMMENT", transport.COMMENT_SECONDS))
    worker = [sys.executable, str(Path(__file__).with_name("fake_worker.py"))]
    try:
        with (
            mock.patch.object(pulse, "LEAST_SECONDS", stall),
            mock.patch.object(connections, "HEADER_SECONDS", header),
            mock.patch.object(connections, "WRITE_SECONDS", write),
            mock.patch.object(transport, "BODY_SECONDS", body),
            mock.patch.object(transport, "COMMENT_SECONDS", comment),
        ):
            channels = activation.take(os.environ)
            server.run(settings.load(os.environ), worker, channels, drain_seconds=drain)
    except EngineError as error:
        logging.getLogger("phi4_engine").error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
