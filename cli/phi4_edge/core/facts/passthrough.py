"""GPUs that the host does not use itself: bound to a driver that keeps them for virtual machines."""

from __future__ import annotations

from phi4_edge.core.facts.gpu import MOST_DEVICES, NVIDIA_VENDOR
from phi4_edge.core.facts.model import Display
from phi4_edge.core.facts.sources import Sources
from phi4_edge.core.text import clean

# Drivers that hold a device so that a guest can have it: KVM's, its predecessor, Xen's.
FOR_GUESTS = ("vfio-pci", "pci-stub", "xen-pciback", "pciback")


def given_away(sources: Sources, display: tuple[Display, ...]) -> tuple[str, ...]:
    """Return the NVIDIA cards among `display` that guests have, as "NVIDIA GPU 10de:2504 at 0000:01:00.0 (vfio-pci)".

    Documents of older probes do not tell drivers: nothing is given away there.
    """
    text = sources.text_or_none("pci_drivers") or ""
    lines = [line.split() for line in text.splitlines()[:MOST_DEVICES]]
    bound = {clean(words[0], 20): words[1] for words in lines if len(words) == 2}
    return tuple(
        f"NVIDIA GPU {one.vendor}:{one.device} at {one.slot} ({bound[one.slot]})"
        for one in display
        if one.vendor == NVIDIA_VENDOR and bound.get(one.slot) in FOR_GUESTS
    )
