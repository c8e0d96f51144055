"""Host names, addresses and origins as they are compared."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def name_of(text: str) -> str | None:
    """A host name or address as it is compared, None for a text that is neither."""
    name = text.strip().rstrip(".").lower()
    if not name or len(name) > 253 or not name.isascii():
        return None
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    labels = name.split(".")
    good = all(label and len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum() for label in labels)
    return name if good and not labels[-1].isdigit() else None


def origin_of(text: str) -> str | None:
    """`scheme://host[:port]` as a browser sends it in `Origin`, None for a text that is none."""
    scheme, mark, place = text.strip().lower().partition("://")
    try:
        parts = urlsplit(f"//{place}")
        port = parts.port
    except ValueError:
        return None
    host = name_of(parts.hostname or "")
    if not mark or scheme not in _PORTS or host is None or parts.netloc != place or "@" in place or place.endswith(":"):
        return None
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + (f":{port}" if port not in (None, _PORTS[scheme]) else "")


_PORTS = {"http": 80, "https": 443}
