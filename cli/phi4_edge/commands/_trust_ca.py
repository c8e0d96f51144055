"""`phi4-edge trust ca`: the certificate authority of the fleet, and what its clients are to trust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from phi4_edge.commands import _options
from phi4_edge.operations import authority, trust
from phi4_edge.report import output as report_output
from phi4_edge.report.text import table

if TYPE_CHECKING:
    from phi4_edge.artifacts.certificates.authority import Authority

# In which clients are given another CA without haste.
_SOON_SECONDS = 180 * 86_400


@click.command("ca", short_help="Make or show the CA of the gateways' certificates.")
@click.option("--pem", is_flag=True, help="Write the certificates to stdout, as PEM.")
@click.option("--rotate", is_flag=True, help="Make a new CA in place of the one that is there.")
@click.option("--retire", is_flag=True, help="Forget the certificates of earlier CAs.")
@_options.output_option
def command(pem: bool, rotate: bool, retire: bool, output: str) -> None:
    """Show the certificate authority (CA) of the gateways' certificates; the first call makes it.

    Clients that trust it recognize every gateway. It is valid for ten years, and its private key is sent nowhere.

    After --rotate, each gateway gets a certificate of the new CA with its next `provision`. Until then clients need
    both CAs, and both are shown. Once every gateway has its new certificate, forget the earlier CA with --retire; if
    its key was stolen, give both options at once.

    \b
    Examples:
      phi4-edge trust ca
      phi4-edge trust ca --pem > fleet-ca.pem
      curl --cacert fleet-ca.pem https://gw1.example:8443/health
      phi4-edge trust ca --rotate
      phi4-edge trust ca --retire

    \b
    Exit codes: 0 shown or made, 1 usage, 3 the CA cannot be used, has expired, or cannot be written.
    """
    from phi4_edge.artifacts.certificates.authority import PUBLIC, Authority
    from phi4_edge.artifacts.signing.statement import moment

    if pem and output != "table":
        raise click.UsageError("found both --pem and --output, needed one of them")
    path, now = authority.path(), trust.now()
    found = Authority.create(path, now, rotate, retire)
    found.require_valid(now)
    if pem:
        click.echo(found.trusted, nl=False)
    else:
        _show(found, path.with_name(PUBLIC), output)
    if found.ends - now < _SOON_SECONDS:
        _options.note(f"the CA expires at {moment(found.ends)}: make another with --rotate, and give it to clients")


def _show(found: Authority, public: Path, output: str) -> None:
    from phi4_edge.artifacts.certificates import pem
    from phi4_edge.artifacts.signing.statement import moment

    lines = [
        {
            "name": pem.label(one),
            "sha256": pem.digest([one]),
            "created": moment(pem.begins(one)),
            "expires": moment(pem.ends(one)),
            "issues": number == 0,
        }
        for number, one in enumerate(found.certificates)
    ]
    if output != "table":
        click.echo(report_output.dump({"file": str(public), "authorities": lines}, output))
        return
    cells = [
        (one["name"], "issues" if one["issues"] else "previous", str(one["created"])[:10], str(one["expires"])[:10])
        for one in lines
    ]
    _options.show(table(("CA", "STATE", "CREATED", "EXPIRES"), cells, _options.width()))
    click.echo(f"SHA-256 {found.digest}")
    click.echo(f"Clients are to trust {public}")
