"""What was signed for the sites that a controller serves, as it lies in the store and is presented to hosts.

One document, `signed.json`: by site, a statement with its signature and rotations of keys, as they came. Nothing here
verifies: whoever uses them does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from phi4_edge.errors import ArtifactError

NAME, FORMAT = "signed.json", "phi4-edge/signed/1"
# A statement has at most 1 MiB, and is usually some kilobytes.
MOST, SITES_MOST = 8 << 20, 64
_PARTS = ("rotations", "signature", "statement")
_SITE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def document(sites: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The document that `decode` reads."""
    return {"format": FORMAT, "sites": {name: dict(one) for name, one in sites.items()}}


def decode(text: str, where: str) -> dict[str, dict[str, str]]:
    """Statement, signature and rotations by site. Raises ArtifactError for any other text."""
    try:
        document = json.loads(text)
        sites = document["sites"]
        if document["format"] != FORMAT or not isinstance(sites, dict) or len(sites) > SITES_MOST:
            raise ValueError("another format")
        for name, one in sites.items():
            if not _SITE.fullmatch(name) or sorted(one) != list(_PARTS) or not all(map(_text, one.values())):
                raise ValueError(f"site {name[:80]!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(
            f"{where} cannot be used ({str(error)[:200]}): it holds what was signed for gateways. Remove it, and "
            "provision again from the newest signed bundle"
        ) from error
    return {str(name): dict(one) for name, one in sites.items()}


def _text(value: object) -> bool:
    return isinstance(value, str)
