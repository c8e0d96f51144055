"""The options of `bundle create` that say how a bundle is signed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phi4_edge.commands import _options
from phi4_edge.operations import trust

if TYPE_CHECKING:
    from phi4_edge.artifacts.signing.gate import Passed
    from phi4_edge.artifacts.signing.making import Signing


@dataclass(frozen=True)
class Wish:
    """What was asked for; no `keys` is no signature."""

    keys: tuple[Path, ...]
    password_file: Path | None
    site: str
    counter: int | None
    days: int
    rotations: tuple[Path, ...]

    def signing(self) -> Signing | None:
        """What the bundle is signed with; passwords were asked for. Raises UsageError and ArtifactError."""
        if not self.keys:
            if self.rotations or self.counter or self.password_file:
                raise click.UsageError("--counter, --rotation and --password-file need --sign KEY")
            return None
        from phi4_edge import content
        from phi4_edge.artifacts.signing import statement
        from phi4_edge.artifacts.signing.making import Signing

        try:
            site = statement.site(self.site)
        except ValueError as error:
            raise click.BadParameter(f"found {self.site[:80]!r}, needed a short name in lower-case letters") from error
        now = trust.now()
        keys = tuple(trust.secret_key(path, self.password_file, _options.secret) for path in self.keys)
        rotations = tuple(trust.rotation(path) for path in self.rotations)
        return Signing(keys, content.code(), now, now + self.days * 86400, self.counter or now, site, rotations)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that signs, handed to it as `wish`."""

    @click.option("--sign", "keys", multiple=True, type=_options.existing_file, help="Secret key made by minisign.")
    @click.option("--password-file", type=_options.existing_file, help="File whose first line is the key's password.")
    @click.option(
        "--site",
        default="default",
        show_default=True,
        help="Site that the bundle is for; each site has its own counter.",
    )
    @click.option(
        "--counter", type=click.IntRange(1, 2**53 - 1), help="Number that must never decrease.  [default: the time]"
    )
    @click.option(
        "--days", default=365, show_default=True, type=click.IntRange(1, 3660), help="How long the signature is valid."
    )
    @click.option(
        "--rotation",
        "rotations",
        multiple=True,
        type=_options.existing_file,
        help="Rotation written by `trust rotate`.",
    )
    @wraps(command)
    def wrapped(
        *args: Any,
        keys: tuple[Path, ...],
        password_file: Path | None,
        site: str,
        counter: int | None,
        days: int,
        rotations: tuple[Path, ...],
        **more: Any,
    ) -> Any:
        return command(*args, wish=Wish(keys, password_file, site, counter, days, rotations), **more)

    return wrapped


def document(passed: Passed) -> dict[str, Any] | None:
    """What was found out about a bundle's signature, as data; None for one that is not signed."""
    from phi4_edge.artifacts.signing.statement import moment

    found = passed.statement
    if found is None:
        return None
    return {
        "trusted": list(passed.verdict.keys) if passed.verdict else [],
        "keys": list(found.keys),
        "site": found.site,
        "counter": found.counter,
        "created": moment(found.created),
        "expires": moment(found.expires),
    }
