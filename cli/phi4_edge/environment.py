"""What of our environment the programs that we start may see: an allow list for each kind of program.

A secret in the environment of whoever runs phi4-edge has any name, so names that look like secrets cannot be listed.
What is not named here reaches no child. PHI4_EDGE_KEEP_ENV names more, separated by commas, for the programs that the
operator's own settings bring in: Ansible with its inventories and vault programs, ssh with its proxy commands, pip.
"""

from __future__ import annotations

import functools
import locale
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, auto

KEEP = "PHI4_EDGE_KEEP_ENV"


class Need(Enum):
    """What a program does, and so what it may see. Each may see what PROGRAM names."""

    PROGRAM = auto()  # starts, finds its files, speaks the operator's language
    SSH = auto()  # logs in to hosts
    ANSIBLE = auto()  # runs Ansible, its inventory plugins and its vault programs
    NETWORK = auto()  # fetches something
    PACKAGES = auto()  # is pip


# A name with a star at its end stands for all that begin so.
_NAMES: Mapping[Need, tuple[str, ...]] = {
    Need.PROGRAM: (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
        *("LANG", "LANGUAGE", "LC_*"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"),
    ),
    Need.SSH: (
        *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "SSH_SK_PROVIDER", "SSH_SK_HELPER"),
        # Who asks for the passphrase of a key, or holds it.
        *("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "GNUPGHOME", "GPG_TTY"),
        # Kerberos (GSSAPIAuthentication): names of files, never a ticket.
        *("KRB5CCNAME", "KRB5_CONFIG", "KRB5_KTNAME", "KRB5_CLIENT_KTNAME", "GSS_USE_PROXY"),
    ),
    Need.ANSIBLE: (
        *("ANSIBLE_*", "PHI4_EDGE_CONFIG", "PHI4_EDGE_STORE", "PHI4_EDGE_STATE"),
        # Where the operator's plugins and this package are, where they are not installed.
        *("PYTHONPATH", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE"),
        # Connections docker and podman.
        *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "CONTAINER_HOST"),
        "PASSWORD_STORE_DIR",
    ),
    Need.NETWORK: ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    Need.PACKAGES: ("PIP_*", "NETRC"),
}
_ALSO: Mapping[Need, tuple[Need, ...]] = {
    Need.ANSIBLE: (Need.SSH, Need.NETWORK),
    Need.PACKAGES: (Need.NETWORK,),
}
# Programs know them in lower-case letters too. Their addresses may hold a password.
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"})
# Of the programs of this kind only those that fetch by themselves get a proxy whose address holds a password.
_TRUSTED_WITH_PROXIES = frozenset({Need.NETWORK, Need.PACKAGES})


# What glibc and musl have without anything installed comes first.
_UTF8 = ("C.UTF-8", "C.utf8", "en_US.UTF-8")
_CATEGORIES = ("LC_CTYPE", "LC_COLLATE", "LC_MESSAGES", "LC_MONETARY", "LC_NUMERIC", "LC_TIME")


def allowed(environ: Mapping[str, str], *needs: Need) -> dict[str, str]:
    """What a program that does `needs` may see of `environ`, which stays as it is."""
    kinds = {Need.PROGRAM, *needs, *(more for need in needs for more in _ALSO.get(need, ()))}
    kept = {name.strip() for name in environ.get(KEEP, "").split(",")} if kinds != {Need.PROGRAM} else set()
    patterns = [pattern for kind in kinds for pattern in _NAMES[kind]]
    exact = {pattern for pattern in patterns if not pattern.endswith("*")} | kept
    prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
    return _speaking(
        {
            name: value
            for name, value in environ.items()
            if name in exact
            or name.startswith(prefixes)
            or (name.upper() in _PROXIES and _may_use(value, kinds, needs))
        }
    )


def _speaking(environ: dict[str, str]) -> dict[str, str]:
    """The same with a locale that is installed and has UTF-8: ssh, cron and CI bring others, and Ansible refuses them.

    Where no locale is set none is added: Python itself then finds one with UTF-8.
    """
    said = {name: value for name, value in environ.items() if value and (name == "LANG" or name.startswith("LC_"))}
    names = tuple(said.get("LC_ALL") or said.get(name) or said.get("LANG") or "C" for name in _CATEGORIES)
    if not said or _usable(names):
        return environ
    better = next((name for name in _UTF8 if _usable((name,) * len(_CATEGORIES))), None)
    if better is None:
        return environ
    kept = {name: value for name, value in environ.items() if name != "LANG" and not name.startswith("LC_")}
    return {**kept, "LC_ALL": better}


@functools.cache
def _usable(names: tuple[str, ...]) -> bool:
    """Whether these locales, one for each of _CATEGORIES, are installed, and the characters are those of UTF-8."""
    numbers = [getattr(locale, category) for category in _CATEGORIES]
    before = [locale.setlocale(number) for number in numbers]
    try:
        for number, name in zip(numbers, names, strict=True):
            locale.setlocale(number, name)
        return (locale.getlocale(locale.LC_CTYPE)[1] or "").lower() in ("utf-8", "utf8")
    except (locale.Error, ValueError):  # ValueError: a name without meaning here, such as macOS' UTF-8
        return False
    finally:
        for number, name in zip(numbers, before, strict=True):
            locale.setlocale(number, name)


def _may_use(proxy: str, kinds: set[Need], needs: tuple[Need, ...]) -> bool:
    if _TRUSTED_WITH_PROXIES & set(needs):
        return True
    return kinds != {Need.PROGRAM} and "@" not in proxy


@contextmanager
def narrowed(*needs: Need) -> Iterator[None]:
    """Meanwhile this process has no other environment either: libraries start programs of the operator by themselves.

    For one thread at a time; threads that end within are those of the caller.
    """
    before = dict(os.environ)
    seen = allowed(before, *needs)
    hidden = before.keys() - seen.keys()
    given = {name: value for name, value in seen.items() if before.get(name) != value}
    for name in hidden:
        del os.environ[name]
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in given.items():
            if os.environ.get(name) == value:
                del os.environ[name]
        for name in {*hidden, *(given.keys() & before.keys())}:
            os.environ.setdefault(name, before[name])
