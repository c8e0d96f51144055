"""`phi4-edge key`: who may use the gateways of an inventory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phi4_edge.commands import _options
from phi4_edge.core.gateway.key_map import MOST_AT_ONCE, MOST_PER_MINUTE, MOST_TOKENS_PER_DAY, Key
from phi4_edge.report import output as report_output
from phi4_edge.report.text import table

if TYPE_CHECKING:
    from phi4_edge.credentials.keys import KeysFile

_inventory = click.argument("inventory")
_name = click.argument("name")
_keys = click.option(
    "--keys",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File of the keys.  [default: gateway-keys.txt beside the inventory]",
)


@click.group("key")
def command() -> None:
    """Manage the keys with which clients use the gateways of an inventory.

    A key is shown once, when it is made. The file of keys beside the inventory has only its SHA-256, and so have the
    hosts.

    \b
    Examples:
      phi4-edge key add inventory/gateways.ini north
      phi4-edge key list inventory/gateways.ini
      phi4-edge key revoke inventory/gateways.ini north
    """


@command.command("add", short_help="Make a key, and show it once.")
@_inventory
@_name
@click.option(
    "--per-minute",
    type=click.IntRange(0, MOST_PER_MINUTE),
    default=0,
    show_default="any number",
    metavar="N",
    help="Requests that it may make in a minute.",
)
@click.option(
    "--at-once",
    type=click.IntRange(0, MOST_AT_ONCE),
    default=0,
    show_default="any number",
    metavar="N",
    help="Requests that it may have open at a time.",
)
@click.option(
    "--tokens-per-day",
    type=click.IntRange(0, MOST_TOKENS_PER_DAY),
    default=0,
    show_default="any number",
    metavar="N",
    help="Tokens of prompts and answers on each host in a day of UTC, where the engine counts them.",
)
@click.option("--until", "day", default="", metavar="YYYY-MM-DD", help="Last day on which it is good, in UTC.")
@_keys
def add(
    inventory: str, name: str, per_minute: int, at_once: int, tokens_per_day: int, day: str, keys: Path | None
) -> None:
    """Make a key for the client NAME, and write it to stdout. It cannot be shown again.

    NAME is what logs and metrics call its holder: lower-case letters, digits, '.', '_' and '-'.

    \b
    Examples:
      phi4-edge key add inventory/gateways.ini north
      phi4-edge key add inventory/gateways.ini press-4 --at-once 1 --per-minute 60 --until 2027-12-31 > press-4.key
      phi4-edge key add inventory/gateways.ini south --tokens-per-day 200000

    \b
    Exit codes: 0 made, 1 usage, 3 there is a key of that name, or the file of keys cannot be used.
    """
    file = _file(inventory, keys)
    try:
        token = file.add(name, per_minute, day, at_once, tokens_per_day)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(token)
    _options.note(f"the key of {name}, shown this once; its SHA-256 is in {file.path}")
    if tokens_per_day:
        _options.note(_held())


@command.command("list", short_help="Show whose keys there are.")
@_inventory
@_keys
@_options.output_option
def list_(inventory: str, keys: Path | None, output: str) -> None:
    """Show the name of each key, its limit and its last day; the keys themselves are nowhere.

    \b
    Example:
      phi4-edge key list inventory/gateways.ini

    \b
    Exit codes: 0 shown, 1 usage, 3 the file of keys cannot be used.
    """
    from phi4_edge.core.gateway.keys_file import last_day

    found, now = _file(inventory, keys).read(), int(time.time())
    if output != "table":
        lines = [
            {
                "name": key.name,
                "sha256": key.digest,
                "per_minute": key.per_minute or None,
                "at_once": key.at_once or None,
                "tokens_per_day": key.tokens_per_day or None,
                "until": last_day(key) or None,
                "expired": _expired(key.expires, now),
            }
            for key in found
        ]
        click.echo(report_output.dump({"keys": lines}, output))
        return
    if not found:
        click.echo("No key was made: nobody is let in.")
        return
    cells = [(key.name, *_limits(key), _until(last_day(key), _expired(key.expires, now))) for key in found]
    head = ("NAME", "PER MINUTE", "AT ONCE", "TOKENS/DAY", "UNTIL")
    _options.show(table(head, cells, _options.width(), right=[1, 2, 3]))


@command.command("revoke", short_help="Let a key in no more.")
@_inventory
@_name
@_keys
def revoke(inventory: str, name: str, keys: Path | None) -> None:
    """Let the key of NAME in no more.

    \b
    Example:
      phi4-edge key revoke inventory/gateways.ini north

    \b
    Exit codes: 0 revoked, 1 usage, 3 there is no key of that name, or the file of keys cannot be used.
    """
    _file(inventory, keys).revoke(name)
    _options.note(f"revoked the key of {name}")


def _file(inventory: str, keys: Path | None) -> KeysFile:
    from phi4_edge.credentials.keys import KeysFile, beside
    from phi4_edge.inventory import sources

    sources.check(inventory)
    return KeysFile(keys.absolute() if keys else beside(inventory))


def _held() -> str:
    from phi4_edge.core.engines.table import ENGINES

    counting = [name for name, engine in ENGINES.items() if engine.serving.counts]
    others = [name for name in ENGINES if name not in counting]
    return (
        f"tokens per day are held on hosts whose engine is {' or '.join(counting)}; {' and '.join(others)} do not "
        "count them, and let this key have any number"
    )


def _limits(key: Key) -> tuple[int | str, ...]:
    return tuple(limit or "any" for limit in (key.per_minute, key.at_once, key.tokens_per_day))


def _expired(expires: int, now: int) -> bool:
    return bool(expires) and expires <= now


def _until(day: str, over: bool) -> str:
    return f"{day or 'always'}{' (over)' * over}"
