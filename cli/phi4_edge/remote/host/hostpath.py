"""Where programs are looked for: what the login brings, and folders that sudo and ssh leave out.

Python 3.8, standard library.
"""

from __future__ import annotations

import os

FOLDERS = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/lib/wsl/lib",  # nvidia-smi of WSL 2
    "/run/current-system/sw/bin",  # NixOS
    "/run/opengl-driver/bin",  # its drivers
    "/usr/local/nvidia/bin",  # containers that the machine's driver is mounted into
    "/opt/bin",  # Flatcar
)


def search_path() -> str:
    """PATH with those folders behind what is in it already."""
    return os.pathsep.join(filter(None, (os.environ.get("PATH", ""), *FOLDERS)))
