"""Names of hosts and of web pages' origins, as an inventory has them; the check of a list raises ValueError."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

# Where an INI inventory would have to say nothing.
NONE = "none"
MOST_ALLOWED = 32
_HOSTS = f"none, or a list of up to {MOST_ALLOWED} host names and addresses without ports, such as gw1.example"
_ORIGINS = f"none, or a list of up to {MOST_ALLOWED} origins, such as https://chat.example:3000"
_SERVERS = (
    f"none, or a list of up to {MOST_ALLOWED} DNS names and addresses, such as gw1.example or 192.0.2.7; a name "
    "outside ASCII in its form xn--…"
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# Browsers take what ends in such a label for an IPv4 address.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_DNS_LONGEST = 253


def host_names(value: Any) -> tuple[str, ...]:
    """Return the names and addresses of a list, or of text with commas."""
    return _listed(value, lambda word: word.rstrip("."), _names_a_host, _HOSTS)


def origins(value: Any) -> tuple[str, ...]:
    """Return the origins of a list, or of text with commas, as browsers send them."""
    return _listed(value, str, _is_origin, _ORIGINS)


def server_names(value: Any) -> tuple[str, ...]:
    """Return the names and addresses of a list, or of text with commas, as a server's certificate has them."""
    return _listed(value, server_name, bool, _SERVERS)


def server_name(text: str) -> str:
    """Return a DNS name or an address as a server's certificate has it, "" for what none can have.

    None can have underscores, characters outside ASCII (which of two standards turned them into xn--… is not ours to
    guess), wildcards, an address with a zone, or one that stands for all.
    """
    name = text.strip()
    if not name.isascii():  # of which lower() could make an ASCII name
        return ""
    name = name.lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        labels = name.split(".")
        good = (
            len(name) <= _DNS_LONGEST and not _NUMBER.fullmatch(labels[-1]) and all(map(_DNS_LABEL.fullmatch, labels))
        )
        return name if good else ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return ""
        address = address.ipv4_mapped or address
    return "" if address.is_unspecified else str(address)


def _listed(value: Any, tidy: Callable[[str], str], good: Callable[[str], bool], wanted: str) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise ValueError(wanted)
    found = tuple(dict.fromkeys(tidy(word.strip()).lower() for word in words if word.strip()))
    found = () if found == (NONE,) else found
    if len(found) > MOST_ALLOWED or not all(map(good, found)):
        raise ValueError(wanted)
    return found


def _names_a_host(name: str) -> bool:
    try:
        return "%" not in str(ipaddress.ip_address(name))
    except ValueError:
        labels = name.split(".")
        return len(name) <= 253 and not labels[-1].isdigit() and all(map(_LABEL.fullmatch, labels))


def _is_origin(text: str) -> bool:
    scheme, mark, place = text.partition("://")
    try:
        parts = urlsplit(f"//{place}")
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    plain = f"[{host}]" if ":" in host else host
    whole = plain if port is None else f"{plain}:{port}"
    return bool(mark) and scheme in ("http", "https") and _names_a_host(host) and port != 0 and place == whole
