"""`phi4-edge trust`: whose signatures count, on this controller and on gateways."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phi4_edge.commands import _options, _trust_ca
from phi4_edge.operations import trust
from phi4_edge.operations.options import Reach
from phi4_edge.report import output as report_output
from phi4_edge.report.text import count, table

if TYPE_CHECKING:
    from phi4_edge.artifacts.signing.trust import Trust


@click.group("trust")
def command() -> None:
    """Manage the keys that bundles must be signed with: minisign keys, made with `minisign -G`.

    Once a key is trusted, a bundle is used only if a trusted key signed it, it has not expired, and it is not older
    than the one before. `trust push` makes gateways trust the same keys. All of this works without a network.

    `trust ca` is for clients: the certificate authority that issues the certificates of gateways.

    \b
    Examples:
      phi4-edge trust add minisign.pub --name release
      phi4-edge bundle create inventory/gateways.ini --sign minisign.key -o fleet.tar
      phi4-edge trust push inventory/gateways.ini
      phi4-edge trust ca
    """


command.add_command(_trust_ca.command)


@command.command("add", short_help="Trust a key, or accept a rotation of keys.")
@click.argument("source", metavar="KEY|FILE")
@click.option("--name", default="", help="Name of the key in messages.")
def add(source: str, name: str) -> None:
    """Trust KEY, a line that begins with RW, or the key in FILE, a .pub file made by minisign.

    FILE may also be a rotation written by `trust rotate`, with its .minisig beside it: a new key signed by a trusted
    key.

    \b
    Examples:
      phi4-edge trust add minisign.pub --name release
      phi4-edge trust add RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3
      phi4-edge trust add rotation.json

    \b
    Exit codes: 0 trusted, 1 usage, 3 no key, or a rotation that no trusted key signed.
    """
    from phi4_edge.artifacts.signing import judge
    from phi4_edge.artifacts.signing.minisign import PublicKey

    path, when = Path(source), trust.now()
    text = trust.read(path).decode("utf-8", "replace") if _is_file(source) else source
    if text.lstrip().startswith("{"):
        found = trust.rotation(path)
        after = trust.keeper().change(lambda trust: judge.taken(trust, found, str(path), when, name=name[:80]))
    else:
        key = PublicKey.parse(text, str(path) if _is_file(source) else "KEY")
        after = trust.keeper().change(lambda trust: trust.with_key(key, name[:80], when))
    _show(after, "table")


@command.command("list", short_help="Show the trusted keys, and how far each site has got.")
@_options.output_option
def list_(output: str) -> None:
    """Show the trusted keys, and the newest accepted bundle of each site.

    \b
    Example:
      phi4-edge trust list
    """
    _show(trust.keeper().read(), output)


@command.command("remove", short_help="Stop trusting a key.")
@click.argument("key", metavar="ID|NAME")
def remove(key: str) -> None:
    """Stop trusting the key with this ID or NAME. No rotation brings it back; `trust add` does.

    If no key is left, signatures are no longer required. Gateways that trust the key continue to do so:
    there, remove it by a rotation (`trust rotate --retire`) or, as root, by deleting `trust` in phi4_state
    (/var/lib/phi4-edge).

    \b
    Example:
      phi4-edge trust remove release

    \b
    Exit codes: 0 removed, 3 there is no such key.
    """
    from phi4_edge.errors import ArtifactError

    def without(trust: Trust) -> Trust:
        wanted = [one.key.id for one in trust.keys if key and (one.name == key or one.key.id == key.upper().zfill(16))]
        if len(wanted) != 1:
            held = ", ".join(f"{one.key.id} {one.name}".strip() for one in trust.keys) or "none"
            raise ArtifactError(f"found {len(wanted)} trusted keys called {key!r}, needed one of: {held}")
        return trust.without_key(wanted[0])

    _show(trust.keeper().change(without), "table")


@command.command("site", short_help="Also accept bundles for another site.")
@click.argument("name")
def site(name: str) -> None:
    """Also accept bundles made for the site NAME (`bundle create --site`).

    The first accepted bundle decides which site this controller serves. Otherwise a bundle for another site could
    take the place of a newer one for this site.

    \b
    Example:
      phi4-edge trust site north
    """
    from phi4_edge.artifacts.signing import statement

    try:
        wanted = statement.site(name)
    except ValueError as error:
        raise click.BadParameter(f"found {name[:80]!r}, needed lower-case letters, digits, '.', '_' and '-'") from error
    _show(trust.keeper().change(lambda trust: trust.with_site(wanted, trust.seen(wanted))), "table")


@command.command("rotate", short_help="Let a key sign its successor.")
@click.argument("new", metavar="[KEY|FILE]", required=False)
@click.option("--sign", "old", required=True, type=_options.existing_file, help="Secret key that is trusted today.")
@click.option("--password-file", type=_options.existing_file, help="File whose first line is its password.")
@click.option("--retire", is_flag=True, help="Stop trusting the signing key afterwards.")
@click.option(
    "--days", default=365, show_default=True, type=click.IntRange(1, 3660), help="How long the rotation is valid."
)
@click.option(
    "--output", "-o", "target", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write."
)
def rotate(new: str | None, old: Path, password_file: Path | None, retire: bool, days: int, target: Path) -> None:
    """Write a rotation: the key of --sign declares that the new KEY is to be trusted too.

    It is written to two files, --output and --output with .minisig, which minisign can verify. Controllers accept
    it with `trust add`, gateways with `trust push --rotation`, and both from a bundle created with --rotation.
    With --retire and without KEY, the signing key is only retired.

    \b
    Examples:
      phi4-edge trust rotate new.pub --sign old.key --retire -o rotation.json
      phi4-edge bundle create inventory/gateways.ini --sign new.key --rotation rotation.json -o fleet.tar

    \b
    Exit codes: 0 written, 1 usage, 3 a key cannot be used.
    """
    from phi4_edge.artifacts.signing.minisign import SUFFIX, PublicKey
    from phi4_edge.artifacts.signing.rotation import Rotation
    from phi4_edge.errors import ArtifactError

    if not new and not retire:
        raise click.UsageError("needed a new KEY, or --retire")
    text = "" if not new else trust.read(Path(new)).decode("utf-8", "replace") if _is_file(new) else new
    key = PublicKey.parse(text, new or "") if text else None
    secret, when = trust.secret_key(old, password_file, _options.secret), trust.now()
    made = Rotation(secret.public.id, key, retire, when, when + days * 86400)
    if key == secret.public:
        raise ArtifactError(f"found the key {key.id} as both the old and the new one, needed a different one")
    raw = made.encode()
    _write(target, raw)
    _write(target.with_name(target.name + SUFFIX), secret.sign(raw, made.comment).encode())
    click.echo(f"{target} and {target.name}{SUFFIX}: {made.signer} {'retires' if retire else 'stays'}, ", nl=False)
    click.echo(f"{key.id} is new" if key else "no other key is new")


@command.command("push", short_help="Make gateways trust the keys of this controller.")
@_options.inventory_argument
@click.option(
    "--rotation", "rotations", multiple=True, type=_options.existing_file, help="Rotation written by `trust rotate`."
)
@_options.yes_option
@_options.reach_options
def push(inventory: tuple[str, ...], rotations: tuple[Path, ...], yes: bool, reach: Reach) -> None:
    """Make every host trust the keys that this controller trusts.

    From then on a host accepts only what one of them signed, and verifies that itself. A host that already trusts keys
    accepts another one only with a rotation that one of them signed. What it runs now keeps running.

    \b
    Examples:
      phi4-edge trust push inventory/gateways.ini
      phi4-edge trust push inventory/gateways.ini --rotation rotation.json

    \b
    Exit codes: 0 done, 1 usage or not confirmed, 3 no key is trusted here, or a host cannot be probed,
    4 a host refused or failed, 5 a host is unreachable, 6 another run has locked a host, 130 Ctrl-C.
    """
    from phi4_edge.artifacts.signing import rotation
    from phi4_edge.commands._options import confirm
    from phi4_edge.commands._trust_push import run
    from phi4_edge.errors import PreflightError

    keys = {one.name or one.key.id: one.key.text for one in trust.keeper().read().keys}
    if not keys:
        raise PreflightError("found no trusted key on this controller, needed one: 'phi4-edge trust add KEY'")
    packed = rotation.packed([trust.rotation(path) for path in rotations]) if rotations else b""
    confirm(f"Make the hosts of {', '.join(inventory)} accept only what {count(len(keys), 'key')} signed?", yes)
    run(inventory, reach, keys, base64.b64encode(packed).decode())


def _is_file(source: str) -> bool:
    """Whether `source` names a file; a key, or a text that no file can be called, does not."""
    try:
        return Path(source).is_file()
    except OSError:
        return False


def _write(path: Path, raw: bytes) -> None:
    from phi4_edge.errors import ArtifactError

    try:
        path.write_bytes(raw)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror}; give another --output") from error


def _show(trust: Trust, output: str) -> None:
    from phi4_edge.artifacts.signing.statement import moment

    sites = trust.sites or {}
    if output != "table":
        keys = [
            {"id": one.key.id, "name": one.name, "key": one.key.text, "added": moment(one.added)} for one in trust.keys
        ]
        seen = {name: {"counter": one.counter, "created": moment(one.created)} for name, one in sites.items()}
        click.echo(report_output.dump({"keys": keys, "removed": list(trust.removed), "sites": seen}, output))
        return
    cells = [(one.key.id, one.name, moment(one.added)) for one in trust.keys]
    if cells:
        _options.show(table(("KEY", "NAME", "ADDED"), cells, _options.width()))
    else:
        click.echo("No key is trusted: bundles are accepted without a signature.")
    for name, one in sites.items():
        made = f"counter {one.counter}, made {moment(one.created)}" if one.statement else "none accepted yet"
        click.echo(f"site {name}: {made}")
