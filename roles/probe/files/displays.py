"""The display controllers on the PCI bus and the drivers that hold them, sent to the host in front of probe.py.

Python 3.8, standard library.
"""

from __future__ import annotations

import os

TOP = "/sys/bus/pci/devices"
WORD_LIMIT = 64


def _word(folder: str, name: str) -> str:
    with open(os.path.join(folder, name), "rb") as stream:
        return stream.read(WORD_LIMIT).decode("ascii", "replace").strip()


def controllers(root: str) -> str:
    """A line for each: slot, vendor, device and class; of every vendor, in bus order."""
    lines = []
    for slot in sorted(os.listdir(root + TOP)):
        vendor, device, kind = (_word(root + TOP + "/" + slot, name) for name in ("vendor", "device", "class"))
        if kind.startswith("0x03"):
            lines.append(" ".join((slot, vendor, device, kind)))
    return "\n".join(lines)


def drivers(root: str) -> str:
    """A line for each that a driver holds: slot and the driver's name."""
    slots = [line.split()[0] for line in controllers(root).split("\n") if line]
    links = {slot: "%s%s/%s/driver" % (root, TOP, slot) for slot in slots}
    return "\n".join(
        "%s %s" % (slot, os.path.basename(os.readlink(link))) for slot, link in links.items() if os.path.islink(link)
    )
