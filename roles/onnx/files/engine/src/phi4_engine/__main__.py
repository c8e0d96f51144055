"""`python -m phi4_engine`: the service. Settings come from the environment (see README.md)."""

from __future__ import annotations

import logging
import os
import socket
import sys

from phi4_engine import activation, modeldir, refusal, server, settings
from phi4_engine.errors import EX_CONFIG, ConfigurationError, EngineError
from phi4_engine.supervisor import worker_command


def main() -> int:
    """Exit status: 0 after a clean stop, 78 (EX_CONFIG) when only the operator can help, 1 when a restart may."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    log = logging.getLogger("phi4_engine")
    channels: list[socket.socket] = []
    try:
        channels = activation.take(os.environ)
        chosen = settings.load(os.environ)
        modeldir.require_context(modeldir.inspect(chosen.model_dir), chosen.context_length)
        # The server closes what it gets, and a model that cannot be run shows only as it is loaded.
        server.run(chosen, worker_command(), [channel.dup() for channel in channels])
    except ConfigurationError as error:
        log.error("%s", error)
        refusal.turn_away(channels)
        return EX_CONFIG
    except EngineError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
