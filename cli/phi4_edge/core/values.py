"""Values as an inventory has them, text for the most part, checked and made what they mean.

Each check returns the value or raises ValueError with what was needed.
"""

from __future__ import annotations

import ipaddress
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from phi4_edge.core import image_reference
from phi4_edge.core.layout import IN_ROOT, IN_STATE, LOOPBACK, Layout
from phi4_edge.core.text import closest
from phi4_edge.errors import ArtifactError

AUTO = "auto"
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
# Goes into units, Compose documents, shell commands and settings as it is: nothing that any of them reads otherwise.
_DIRECTORY = re.compile(r"(?:/[A-Za-z0-9_][A-Za-z0-9._-]*){2,}", re.ASCII)
_LONGEST_DIRECTORY = 100
# The system's own, or somebody else's.
_SYSTEMS = (
    *("/bin", "/boot", "/dev", "/efi", "/etc", "/lib", "/lib32", "/lib64", "/lost+found", "/ostree", "/proc", "/sbin"),
    *("/snap", "/sys", "/sysroot", "/usr", "/var/cache", "/var/lock", "/var/log", "/var/spool", "/var/lib/apt"),
    *("/var/lib/containerd", "/var/lib/docker", "/var/lib/dpkg", "/var/lib/private", "/var/lib/rpm"),
    *("/var/lib/systemd", "/var/lib/lxc", "/var/lib/kubelet", "/var/lib/rancher"),
)
# Gone after a boot, or hidden from a service (ProtectHome=, PrivateTmp=).
_UNSEEN = ("/home", "/root", "/run", "/tmp", "/var/home", "/var/roothome", "/var/run", "/var/tmp")  # noqa: S108
_SHARED = ("/var/lib", "/var/local", "/var/mnt", "/var/opt", "/var/srv")
_OWN = (
    "an absolute path of a directory of its own, such as /data/phi4-edge: at least two names deep, "
    f"{_LONGEST_DIRECTORY} letters, digits and . _ - at most, no name that begins with a dot, and not below a "
    "directory of the system, of its users or of temporary files"
)


def one_of(*known: str) -> Callable[[Any], str]:
    """A check for one of these words, in whatever case it is written."""

    def check(value: Any) -> str:
        wanted = str(value).strip().lower()
        for name in known:
            if name.lower() == wanted:
                return name
        raise ValueError(f"one of {', '.join(known)}{closest(wanted, list(known))}")

    return check


def whole(least: int, most: int) -> Callable[[Any], int]:
    """A check for a whole number within these, as a number or as text."""

    def check(value: Any) -> int:
        text = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
        # INI inventories give numbers as text; isascii keeps other scripts' digits out.
        if text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most:
            return int(text)
        raise ValueError(f"a whole number from {least} to {most}")

    return check


def auto_or(check: Callable[[Any], int]) -> Callable[[Any], int | None]:
    """A check for "auto", which becomes None, or for what `check` takes."""

    def checked(value: Any) -> int | None:
        if isinstance(value, str) and value.strip().lower() == AUTO:
            return None
        try:
            return check(value)
        except ValueError as error:
            raise ValueError(f"auto or {error}") from None

    return checked


def flag(value: Any) -> bool:
    """True or false, as YAML and INI inventories write them."""
    text = str(value).strip().lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("true or false")
    return text in _TRUE


def address(value: Any) -> str:
    """An IP address of one interface, in its shortest form."""
    try:
        found = ipaddress.ip_address(str(value).strip())
    except ValueError:
        found = None
    # A scope (fe80::1%eth0) names an interface that may have another name after a reboot.
    if found is None or found.is_multicast or "%" in str(found):
        raise ValueError(f"an IP address of the host, such as {LOOPBACK}")
    return str(found)


_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(kbit|Mbit|Gbit)", re.ASCII)
_BYTES = {"kbit": 125, "Mbit": 125_000, "Gbit": 125_000_000}
SLOWEST_RATE = 8_000  # bytes per second: below it a piece would not arrive within its time


def rate(value: Any) -> int:
    """Bytes per second of a bandwidth in bits per second, such as 20Mbit; 0 where none is named."""
    text = "" if value is None else str(value).strip()
    if text.lower() in ("", "none"):
        return 0
    found = _RATE.fullmatch(text)
    bytes_a_second = int(float(found[1]) * _BYTES[found[2]]) if found else 0
    if bytes_a_second < SLOWEST_RATE:
        raise ValueError("none, or bits per second as 64kbit (the least), 20Mbit or 1Gbit")
    return bytes_a_second


def endpoint(value: Any) -> tuple[str, int]:
    """Address and port of `192.0.2.5`, `192.0.2.5:8700` or `[2001:db8::5]:8700`; port 0, and "", where none is named.

    An address that means every one of a machine is refused: nobody can be told to connect to it.
    """
    text = "" if value is None else str(value).strip()
    if text.lower() in ("", "none"):
        return "", 0
    found = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?|([0-9.]+):([0-9]{1,5})", text, re.ASCII)
    host, port = (found[1] or found[3], int(found[2] or found[4] or 0)) if found else (text, 0)
    try:
        known = address(host)
    except ValueError:
        known = ""
    if not known or ipaddress.ip_address(known).is_unspecified or port > 65535:
        raise ValueError("none, or an IP address of the controller with or without a port, such as 192.0.2.5:8700")
    return known, port


def seconds(value: Any) -> float:
    """Seconds, an hour at most."""
    try:
        found = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not 0 <= found <= 3600:
        raise ValueError("a number of seconds from 0 to 3600")
    return found


def line(value: Any) -> str:
    """Text, or a number as text, without control characters."""
    if not isinstance(value, (str, int, float)) or not str(value).isprintable():
        raise ValueError("one line of text")
    return str(value)


def optional_line(value: Any) -> str:
    """One line of text, "" for none."""
    text = "" if value is None else line(value).strip()
    return "" if text.lower() == "none" else text


def mapping(value: Any) -> Mapping[str, Any]:
    """Settings by name; INI inventories give them as JSON."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, Mapping):
        raise ValueError('a mapping, such as {"log-driver": "json-file"}')
    return found


def place(value: Any) -> str:
    """A path that may hold what is ours, and nothing of the system."""
    path = value if isinstance(value, str) else ""
    if not _DIRECTORY.fullmatch(path) or _below(path, _SYSTEMS) or path in _SHARED:
        raise ValueError(_OWN)
    return path


def directory(value: Any) -> str:
    """A directory of our own on a host, as it is written there, that a service can see after every boot."""
    path = place(value)
    if len(path) > _LONGEST_DIRECTORY or _below(path, _UNSEEN):
        raise ValueError(_OWN)
    return path


def _below(path: str, tops: Iterable[str]) -> bool:
    return any(f"{path}/".startswith(f"{top}/") for top in tops)


def layout(root: Any, state: Any) -> Layout:
    """Both directories of a host; neither is the other, or lies in what the other holds."""
    found = Layout(directory(root), directory(state))
    for path, other, held in ((found.state, found.root, IN_ROOT), (found.root, found.state, IN_STATE)):
        if path == other or _below(path, (f"{other}/{name}" for name in held)):
            raise ValueError(f"a directory of its own, that is not {other} and not in what lies there")
    return found


def worker(value: Any) -> str:
    """A worker as `--worker` names it, "" for none."""
    text = "" if value is None else str(value).strip()
    if text.lower() in ("", "none"):
        return ""
    if not text.isprintable() or any(map(str.isspace, text)) or text.startswith("-"):
        raise ValueError("none, or a worker as --worker names it: host, or user@host[:port]")
    return text


def docker_root(value: Any) -> str:
    """Return where the settings would have Docker keep everything, "" where they do not say."""
    root = mapping(value).get("data-root")
    return posixpath.normpath(root) if isinstance(root, str) and root.startswith("/") else ""


def mirror(value: Any) -> str:
    """A mirror of registries as host[:port][/prefix], "" for none."""
    text = "" if value is None else str(value).strip().rstrip("/")
    if text.lower() in ("", "none"):
        return ""
    try:
        image_reference.endpoint(image_reference.Reference(image_reference.DOCKER_HUB, "library/x", "1", ""), text)
    except ArtifactError:
        raise ValueError("a registry as host[:port][/prefix], such as mirror.example:5000/edge") from None
    return text
