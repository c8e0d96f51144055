"""Names of the packages that belong to the kernel that runs: of its headers and its signed modules.

A distribution's metapackage follows one series of its kernels. Packages of another series install well and leave the
running kernel without modules.
"""

from __future__ import annotations

import re

from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.text import dotted
from phi4_edge.errors import PreflightError

# The kernel of each release. Ubuntu brings newer ones too (hardware enablement), with packages of their own.
SERIES = {
    ("debian", "12"): (6, 1),
    ("debian", "13"): (6, 12),
    ("ubuntu", "22.04"): (5, 15),
    ("ubuntu", "24.04"): (6, 8),
}
# Flavours whose metapackage is of the release's kernel, with one more for HWE kernels.
_PC = ("generic", "generic-64k", "lowlatency", "lowlatency-64k")
# Of clouds: one metapackage, which moves on to newer kernels by itself.
_CLOUD = ("aws", "azure", "gcp", "gke", "ibm", "oracle")
# 6.8.0-45-generic; kernels of Ubuntu's mainline archive are numbered 6.14.0-061400-generic and have no metapackage.
_UBUNTU = re.compile(r"([0-9]+)\.([0-9]+)\.0-[1-9][0-9]{0,4}-([a-z][a-z0-9-]*)")
# 6.1.0-38-amd64 and 6.12.41+deb13-amd64; +bpo and +rpt are not of the release.
_DEBIAN = re.compile(r"([0-9]+)\.([0-9]+)\.[0-9]+(?:\+deb[0-9]+(?:\.[0-9]+)?)?(?:-[0-9]+)?-([a-z][a-z0-9-]*)")
_DEBIAN_FLAVOURS = tuple(f"{kind}{machine}" for machine in ("amd64", "arm64") for kind in ("", "cloud-", "rt-"))


def flavour(facts: HostFacts) -> str:
    """Return what metapackages of the running kernel end in: amd64, generic, generic-hwe-24.04.

    Raises PreflightError for a kernel that the distribution's release does not ship.
    """
    system = (facts.os.id, facts.os.version_id)
    pattern = _UBUNTU if facts.os.id == "ubuntu" else _DEBIAN
    known = pattern.fullmatch(facts.kernel)
    if known and system in SERIES:
        series, name, own = (int(known.group(1)), int(known.group(2))), known.group(3), SERIES[system]
        if facts.os.id == "debian" and name in _DEBIAN_FLAVOURS and series == own:
            return name
        if facts.os.id == "ubuntu" and name in _CLOUD and series >= own:
            return name
        if facts.os.id == "ubuntu" and name in _PC and series >= own:
            return name if series == own else f"{name}-hwe-{facts.os.version_id}"
    newer = " or newer" if facts.os.id == "ubuntu" else ""
    shipped = f"{dotted(SERIES[system])}{newer}" if system in SERIES else "one that we know"
    raise PreflightError(
        f"found kernel {facts.kernel}, needed a kernel that {facts.os.pretty_name or 'the distribution'} ships "
        f"({shipped}): its packages bring no modules of the driver for another. Boot one of those, or install the "
        "driver yourself"
    )
