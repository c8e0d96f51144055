"""Where things are on a host, and what they are called there: said once."""

from __future__ import annotations

RELEASES_PATH = "/opt/phi4-edge"
MODELS_PATH = "/var/lib/phi4-edge"
DOCKER_PATH = "/var/lib/docker"
DPKG_PATH = "/var/lib/dpkg"
SYSTEM_PATH = "/etc"

UNIT, WEBUI_UNIT, REHEARSAL_UNIT = "phi4-edge.service", "phi4-edge-webui.service", "phi4-edge-rehearsal.service"
# The port of an engine that systemd can hand it to; others bind it themselves.
SOCKET_UNIT = "phi4-edge.socket"
# Keeps the model loaded of an engine that would load it with the first request.
LOAD_UNIT = "phi4-edge-load.service"
UNITS = (SOCKET_UNIT, UNIT, LOAD_UNIT, WEBUI_UNIT)
PROJECT, REHEARSAL_PROJECT, WEBUI_PROJECT = "phi4-edge", "phi4-edge-rehearsal", "phi4-edge-webui"

LOOPBACK = "127.0.0.1"
