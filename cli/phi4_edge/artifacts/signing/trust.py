"""The keys that this controller trusts, and how far each site has come: two files that only their owner may write.

<configuration>/trust.json     the keys, and those that were taken out for good
<state>/trust/sites.json       by site, the highest counter that was accepted, and of which statement
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from phi4_edge.artifacts.signing.minisign import PublicKey
from phi4_edge.artifacts.signing.statement import COUNTER_MOST, moment, seconds, site
from phi4_edge.artifacts.store import files
from phi4_edge.errors import ArtifactError

KEYS_FORMAT, SITES_FORMAT = "phi4-edge/trust/1", "phi4-edge/trust-sites/1"
KEYS, SITES = "trust.json", "sites.json"
# More keys are nobody's to keep an eye on; the same bounds as on a gateway.
KEYS_MOST, REMOVED_MOST, SITES_MOST = 16, 64, 64
_READ_MOST = 256 << 10
PRIVATE = 0o600
_KEY_ID = re.compile(r"[0-9A-F]{16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Trusted:
    """A trusted key; `name` is for people, `added` seconds since 1970."""

    key: PublicKey
    name: str = ""
    added: int = 0


@dataclass(frozen=True)
class Seen:
    """How far a site has come: the highest counter, when that statement was made, and its SHA-256 ("" for none)."""

    counter: int = 0
    created: int = 0
    statement: str = ""


@dataclass(frozen=True)
class Trust:
    """What is trusted. A value: what changes it gives another one, and `Keeper` writes it down."""

    keys: tuple[Trusted, ...] = ()
    removed: tuple[str, ...] = ()
    sites: Mapping[str, Seen] | None = None

    def find(self, key_id: str) -> PublicKey | None:
        """The trusted key of that number, None where there is none."""
        return next((one.key for one in self.keys if one.key.id == key_id), None)

    def with_key(self, key: PublicKey, name: str, now: int) -> Trust:
        """The same, and `key`. Raises ArtifactError where another key has its number, or there are too many."""
        if (known := self.find(key.id)) is not None:
            if known != key:
                raise ArtifactError(f"found another trusted key with the id {key.id}: remove that first")
            return self
        if len(self.keys) >= KEYS_MOST:
            raise ArtifactError(f"found {KEYS_MOST} trusted keys, needed room for one: remove those no longer in use")
        return replace(self, keys=(*self.keys, Trusted(key, name, now)), removed=_without(self.removed, key.id))

    def without_key(self, key_id: str) -> Trust:
        """The same without that key, which no rotation brings back; only `trust add` does."""
        kept = tuple(one for one in self.keys if one.key.id != key_id)
        return replace(self, keys=kept, removed=(*_without(self.removed, key_id), key_id)[-REMOVED_MOST:])

    def seen(self, name: str) -> Seen:
        """How far the site `name` has come."""
        return (self.sites or {}).get(name, Seen())

    def with_site(self, name: str, seen: Seen) -> Trust:
        """The same, knowing that of the site. Raises ArtifactError where there are too many."""
        sites = {**(self.sites or {}), name: seen}
        if len(sites) > SITES_MOST:
            raise ArtifactError(f"found {SITES_MOST} sites on this controller, needed room for one more")
        return replace(self, sites=sites)


def _without(ids: tuple[str, ...], one: str) -> tuple[str, ...]:
    return tuple(key_id for key_id in ids if key_id != one)


def config_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Where this user's settings are: $PHI4_EDGE_CONFIG, else phi4-edge below $XDG_CONFIG_HOME or ~/.config."""
    if named := environment.get("PHI4_EDGE_CONFIG"):
        return Path(named).expanduser().absolute()
    base = environment.get("XDG_CONFIG_HOME")
    try:
        return (Path(base) if base else Path.home() / ".config") / "phi4-edge"
    except RuntimeError as error:
        raise ArtifactError("found no home directory of this user, needed one: set PHI4_EDGE_CONFIG") from error


class Keeper:
    """Reads and writes both files: `config` is the folder of settings, `state` that of what is remembered."""

    def __init__(self, config: Path, state: Path) -> None:
        self.keys_path, self.sites_path = config / KEYS, state / "trust" / SITES

    def read(self) -> Trust:
        """What is trusted now. Raises ArtifactError for a file that is damaged, or that others may write."""
        keys, removed = _keys(_document(self.keys_path, KEYS_FORMAT), self.keys_path)
        return Trust(keys, removed, _sites(_document(self.sites_path, SITES_FORMAT), self.sites_path))

    def change(self, what: Callable[[Trust], Trust]) -> Trust:
        """What `what` makes of it is written, durably; nobody else changes it meanwhile."""
        with self._alone():
            before = self.read()
            after = what(before)
            if (after.keys, after.removed) != (before.keys, before.removed):
                files.write_json(self.keys_path, {"format": KEYS_FORMAT, **_of_keys(after)}, PRIVATE)
            if after.sites != before.sites:
                lines = {name: _of_site(seen) for name, seen in (after.sites or {}).items()}
                files.write_json(self.sites_path, {"format": SITES_FORMAT, "sites": lines}, PRIVATE)
        return after

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            for folder in (self.keys_path.parent, self.sites_path.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with files.locked(self.keys_path.with_suffix(".lock")):
                yield
        except OSError as error:
            raise ArtifactError(
                f"{self.keys_path} cannot be written: {error.strerror}; give it space and rights, or name another "
                "folder in PHI4_EDGE_CONFIG"
            ) from error


def _of_keys(trust: Trust) -> dict[str, Any]:
    lines = [{"key": one.key.text, "name": one.name, "added": moment(one.added)} for one in trust.keys]
    return {"keys": lines, "removed": list(trust.removed)}


def _of_site(seen: Seen) -> dict[str, Any]:
    return {"counter": seen.counter, "created": moment(seen.created), "statement": seen.statement}


def _keys(document: Mapping[str, Any] | None, path: Path) -> tuple[tuple[Trusted, ...], tuple[str, ...]]:
    if document is None:
        return (), ()
    try:
        lines, removed = document["keys"], document["removed"]
        if len(lines) > KEYS_MOST or len(removed) > REMOVED_MOST:
            raise ValueError("too many keys")
        keys = tuple(
            Trusted(PublicKey.parse(line["key"], str(path)), str(line["name"]), seconds(line["added"]))
            for line in lines
        )
        if not all(isinstance(one, str) and _KEY_ID.fullmatch(one) for one in removed):
            raise ValueError("a removed key without its id")
        if len({one.key.id for one in keys}) != len(keys):
            raise ValueError("a key twice")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, str(error)) from error
    return keys, tuple(removed)


def _sites(document: Mapping[str, Any] | None, path: Path) -> dict[str, Seen]:
    try:
        lines = {} if document is None else document["sites"]
        if len(lines) > SITES_MOST:
            raise ValueError("too many sites")
        return {site(name): _seen(line) for name, line in lines.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, str(error)) from error


def _seen(line: Mapping[str, Any]) -> Seen:
    counter, statement = line["counter"], line["statement"]
    if type(counter) is not int or not 0 <= counter <= COUNTER_MOST:
        raise ValueError("not a counter")
    if not isinstance(statement, str) or (statement and not _SHA256.fullmatch(statement)):
        raise ValueError("not a statement")
    return Seen(counter, seconds(line["created"]), statement)


def _document(path: Path, form: str) -> Mapping[str, Any] | None:
    """The document in `path`, None where there is no file."""
    try:
        raw = files.read_own(path, _READ_MOST)
    except files.NotOwnError as error:
        raise ArtifactError(
            f"{error}, so nobody knows who chose the keys in it: look at it, then chmod 600 {path}"
        ) from error
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    if raw is None:
        return None
    try:
        document = json.loads(raw) if len(raw) <= _READ_MOST else None
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(document, dict) or document.get("format") != form:
        raise _damaged(path, f"not of format {form}")
    return document


def _damaged(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{path} cannot be used ({why[:200]}): it says which keys are trusted, and how far each site has come. Restore "
        "it; removing it makes this controller accept what it would refuse"
    )
