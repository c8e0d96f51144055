"""`phi4-edge export`: what other programs need to know of a fleet."""

from __future__ import annotations

from pathlib import Path

import click

from phi4_edge.commands import _options
from phi4_edge.core.monitoring.scraping import CA_FILE, CERTIFICATE_FILE, CERTIFICATE_KEY_FILE, KEY_FILE
from phi4_edge.errors import PreflightError
from phi4_edge.operations.options import Reach
from phi4_edge.report.text import count


@click.group("export")
def command() -> None:
    """Write what other programs need to know of the fleet. No host is asked.

    \b
    Examples:
      phi4-edge export prometheus inventory/gateways.ini --directory monitoring
      phi4-edge export prometheus inventory/gateways.ini --limit 'plant_*' --directory plants
    """


@command.command("prometheus", short_help="Targets, alerts and dashboards.")
@_options.inventory_argument
@click.option(
    "--directory",
    "-d",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Where the files go; it is made where it is not there.",
)
@click.option(
    "--credentials-file",
    "key_file",
    default=KEY_FILE,
    show_default=True,
    metavar="PATH",
    help="File with the key, on Prometheus' machine.",
)
@click.option(
    "--ca-file",
    default=CA_FILE,
    show_default=True,
    metavar="PATH",
    help="File with the certificates of the gateways' issuers, on Prometheus' machine.",
)
@click.option(
    "--cert-file",
    default=CERTIFICATE_FILE,
    show_default=True,
    metavar="PATH",
    help="File with a client's certificate, on Prometheus' machine, where gateways want one.",
)
@click.option(
    "--cert-key-file",
    default=CERTIFICATE_KEY_FILE,
    show_default=True,
    metavar="PATH",
    help="File with the private key of that certificate.",
)
@_options.reach_options
def prometheus(
    inventory: tuple[str, ...],
    directory: Path,
    key_file: str,
    ca_file: str,
    cert_file: str,
    cert_key_file: str,
    reach: Reach,
) -> None:
    """Write targets, scrape configuration and alerts for Prometheus, and dashboards for Grafana.

    A second run changes nothing, and a file that somebody else changed is never written over. Make the key for it with
    `phi4-edge key add INVENTORY metrics`, and provision.

    \b
    Examples:
      phi4-edge export prometheus inventory/gateways.ini --directory monitoring
      phi4-edge export prometheus inventory/gateways.ini -d monitoring --ca-file /etc/ssl/certs/ca-certificates.crt

    \b
    Exit codes: 0 written, or nothing to do, 1 usage or inventory,
    3 no host has a gateway that can be reached, or a file there is somebody else's.
    """
    from phi4_edge.operations import export
    from phi4_edge.operations.fleet import Fleet

    found = export.watched(Fleet.open(inventory, reach))
    for name, why in found.left_out.items():
        _options.note(f"{name} is left out: {why}")
    if not found.targets:
        raise PreflightError("found no host with a gateway that can be reached, needed one; nothing was written")
    texts = export.prometheus(found.targets, key_file, ca_file, (cert_file, cert_key_file))
    changed = export.write(directory, texts)
    _options.show([f"{directory / name}" for name in changed])
    what = f"wrote {count(len(changed), 'file')}" if changed else "nothing to write"
    _options.note(f"{what} for {count(len(found.targets), 'gateway')} in {directory}")
