"""The fleet's certificate authority: where this user's is."""

from __future__ import annotations

from pathlib import Path


def path() -> Path:
    """The file of the CA, among this user's settings."""
    from phi4_edge.artifacts.certificates.authority import KEY
    from phi4_edge.artifacts.signing.trust import config_root

    return config_root() / KEY
