"""Whether the collection that a plugin came with and this package are of one version."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

from phi4_edge import __version__
from phi4_edge.errors import HostFailedError

# Only a collection that `ansible-galaxy` installed has one; a checkout's and a wheel's come with the package.
_MANIFEST = "MANIFEST.json"


def check(plugin: Any) -> None:
    """Raise HostFailedError where the collection of an action plugin was installed in another version."""
    path = getattr(sys.modules.get(type(plugin).__module__), "__file__", None)
    if path is not None and (found := _version(Path(path).parents[2])) not in ("", __version__):
        raise HostFailedError(
            f"found collection phi4_edge.edge {found} and package phi4-edge {__version__}, needed both of one version: "
            f"ansible-galaxy collection install phi4_edge.edge:=={__version__}, or "
            f"pip install phi4-edge=={found} into the Python that runs Ansible"
        )


@functools.cache
def _version(root: Path) -> str:
    """The version that the manifest of an installed collection says; "" where there is none to say it."""
    try:
        return str(json.loads((root / _MANIFEST).read_text())["collection_info"]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
