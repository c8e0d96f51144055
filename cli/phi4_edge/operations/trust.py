"""What the commands around signatures share: where trust is kept, the password of a key, the time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from phi4_edge.errors import ArtifactError

if TYPE_CHECKING:
    from phi4_edge.artifacts.signing.gate import Gate
    from phi4_edge.artifacts.signing.rotation import Signed
    from phi4_edge.artifacts.signing.secret import SecretKey
    from phi4_edge.artifacts.signing.trust import Keeper

_PASSWORD_MOST = 1024
_FILE_MOST = 64 << 10


def keeper() -> Keeper:
    """Where this user's trusted keys, and how far each site has come, are kept."""
    from phi4_edge.artifacts.signing.trust import Keeper, config_root
    from phi4_edge.rollout.journal import state_root

    return Keeper(config_root(), state_root())


def gate() -> Gate:
    """What bundles are held to."""
    from phi4_edge.artifacts.signing.gate import Gate

    return Gate(keeper(), now())


def now() -> int:
    """Seconds since 1970 by this machine's clock."""
    return int(time.time())


def secret_key(path: Path, password_file: Path | None, prompt: Callable[[str], str]) -> SecretKey:
    """The secret key in `path`, opened; its password comes from a file or by `prompt`, never from arguments."""
    from phi4_edge.artifacts.signing import secret

    return secret.read(path, lambda: _password(path, password_file, prompt))


def _password(key: Path, source: Path | None, prompt: Callable[[str], str]) -> str:
    if source is not None:
        try:
            with source.open("rb") as stream:
                return stream.read(_PASSWORD_MOST).split(b"\n", 1)[0].rstrip(b"\r").decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{source}: the key's password cannot be read: {error}") from error
    if not sys.stdin.isatty():
        raise ArtifactError(
            f"{key} has a password, and there is no terminal to ask for it: needed --password-file FILE, or a key that "
            "was made with 'minisign -G -W'"
        )
    return prompt(f"Password of {key}")


def rotation(path: Path) -> Signed:
    """The rotation in `path` with the signature beside it."""
    from phi4_edge.artifacts.signing.minisign import SUFFIX
    from phi4_edge.artifacts.signing.rotation import Signed

    found = Signed(read(path), read(path.with_name(path.name + SUFFIX)))
    found.parsed(str(path))
    return found


def read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            raw = stream.read(_FILE_MOST + 1)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > _FILE_MOST:
        raise ArtifactError(f"{path}: found more than {_FILE_MOST} bytes, needed a key or a rotation of keys")
    return raw
