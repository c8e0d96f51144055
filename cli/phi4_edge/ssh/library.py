"""paramiko, loaded once and without what we do not use of it."""

from __future__ import annotations

import importlib
import sys


def load() -> None:
    """paramiko is imported, before threads need it all at once.

    It imports invoke, and with that half of unittest, to read OpenSSH's configuration, which `ssh -G` does for us.
    """
    if "paramiko" in sys.modules:
        return
    hidden = "invoke" not in sys.modules
    if hidden:
        sys.modules["invoke"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("paramiko")
    finally:
        if hidden:
            del sys.modules["invoke"]
