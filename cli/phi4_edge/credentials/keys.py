"""Keys of gateways: made here, known here and on hosts by their digests alone."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from phi4_edge.artifacts.store import files
from phi4_edge.core.gateway import keys_file
from phi4_edge.core.gateway.key_map import MARK, Key, digest, require_distinct
from phi4_edge.core.text import closest
from phi4_edge.errors import InventoryError, PreflightError

# Ansible leaves files of this kind alone where an inventory is a folder.
NAME = "gateway-keys.txt"
_MODE = 0o600
_KEY_BYTES = 32


def beside(inventory: str) -> Path:
    """Return where the keys of an inventory are: beside it, whether it is a file or a folder.

    Raises InventoryError for a list of hosts, which is nowhere.
    """
    if "," in inventory:
        raise InventoryError(f"found a list of hosts ({inventory[:80]}), needed an inventory file or --keys FILE")
    return Path(inventory).expanduser().absolute().parent / NAME


@dataclass(frozen=True, slots=True)
class KeysFile:
    """One file of keys. Its errors are PreflightErrors: what is there cannot be used, or is not what was asked for."""

    path: Path

    def read(self) -> tuple[Key, ...]:
        """The keys; none where there is no file yet."""
        try:
            raw = files.read_own(self.path, keys_file.LONGEST)
            return () if raw is None else keys_file.decode(raw)
        except files.NotOwnError as error:
            raise PreflightError(
                f"{error}, so nobody knows who let these keys in: look at it, then chmod 600 {self.path}"
            ) from error
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise PreflightError(
                f"{self.path} cannot be used ({why}): restore it, or name another with --keys"
            ) from error

    def add(self, name: str, per_minute: int = 0, day: str = "", at_once: int = 0, tokens_per_day: int = 0) -> str:
        """A key of that name is let in from now on; returns it, and is the only one who ever does.

        `per_minute`, `at_once`: requests, 0 for any number; `tokens_per_day` likewise. `day`: the last one on which it
        is good, "" for none. Raises ValueError for a name, number or day that cannot be.
        """
        token = MARK + secrets.token_urlsafe(_KEY_BYTES)
        made = Key(name, digest(token), per_minute, keys_file.expiry(day) if day else 0, at_once, tokens_per_day)
        with self._alone():
            keys = self.read()
            if any(key.name == name for key in keys):
                raise PreflightError(
                    f"found a key called {name} in {self.path}, needed a new name: revoke that one first, or give "
                    "another name"
                )
            self._write((*keys, made))
        return token

    def revoke(self, name: str) -> None:
        """No key of that name is let in any more."""
        with self._alone():
            keys = self.read()
            names = [key.name for key in keys]
            if name not in names:
                raise PreflightError(
                    f"found no key called {name[:80]!r} in {self.path}{closest(name[:80], names)}, needed one of: "
                    f"{', '.join(names[:20]) or 'none'}"
                )
            self._write(tuple(key for key in keys if key.name != name))

    def _write(self, keys: tuple[Key, ...]) -> None:
        try:
            require_distinct(keys)
        except ValueError as error:
            raise PreflightError(f"{self.path}: {error}: revoke some, or keep others in a file of their own") from error
        files.write_text(self.path, keys_file.encode(keys), _MODE)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            with files.locked(self.path.with_name(f".{self.path.name}.lock")):
                yield
        except OSError as error:
            raise PreflightError(
                f"{self.path} cannot be written ({error.strerror}): give it space and rights, or name another with "
                "--keys"
            ) from error
