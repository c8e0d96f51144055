"""`phi4-edge lab`: disposable gateways on this machine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import click

from phi4_edge import lab as labs
from phi4_edge.environment import Need, allowed
from phi4_edge.errors import LabError

_GIB = 1024**3
_COLUMNS = ("HOST", "PROFILE", "OS", "RAM", "CPUS", "ADDRESS")


def _progress(line: str) -> None:
    click.echo(line, err=True)


def _check_name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return labs.check_name(value)
    except LabError as error:
        raise click.BadParameter(str(error)) from error


def _check_profiles(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    known = labs.load_profiles()
    try:
        for name in value:
            known.get(name)
    except LabError as error:
        raise click.BadParameter(str(error)) from error
    return value


_name_option = click.option(
    "--name",
    default="lab",
    show_default=True,
    callback=_check_name,
    help="Name of the lab; several can run side by side.",
)


@click.group("lab")
def command() -> None:
    """Boot and remove disposable gateways on this machine (needs Docker).

    \b
    Examples:
      phi4-edge lab up --hosts 3
      phi4-edge lab up --name big --profile server-16gb
      phi4-edge lab up --hosts 2 --os debian-11 --os debian-12
      phi4-edge lab up --hosts 4 --docker-on gw3,gw4 --offline --mirror
      phi4-edge lab ssh gw1 -- systemctl status phi4-edge
      phi4-edge lab down
    """


@command.command("up")
@_name_option
@click.option("--hosts", type=click.IntRange(1, 32), help="How many hosts.  [default: one per --profile, else 3]")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    callback=_check_profiles,
    help="Hardware of the hosts, repeatable; see `lab profiles`.",
)
@click.option(
    "--os",
    "systems",
    multiple=True,
    type=click.Choice(sorted(labs.systems())),
    help="Operating system of the hosts, repeatable: they get them in turn.  [default: debian-13]",
)
@click.option(
    "--image",
    type=click.Choice(["bare", "docker"]),
    default="bare",
    show_default=True,
    help="Hosts without Docker, or with a Docker engine already installed.",
)
@click.option("--docker-on", metavar="HOST,...", help="Hosts that get a Docker engine, whatever --image says.")
@click.option("--offline", is_flag=True, help="No internet access: hosts reach only each other and this machine.")
@click.option("--mirror", is_flag=True, help="Add a machine that serves files and an image registry to the hosts.")
@click.option(
    "--inventory", type=click.Path(dir_okay=False, path_type=Path), help="Also write the inventory to this file."
)
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=120, show_default=True, help="Seconds to wait for SSH."
)
def up(
    name: str,
    hosts: int | None,
    profiles: tuple[str, ...],
    systems: tuple[str, ...],
    image: str,
    docker_on: str | None,
    offline: bool,
    mirror: bool,
    inventory: Path | None,
    timeout: float,
) -> None:
    """Boot hosts, wait until each answers SSH, write an inventory."""
    count = hosts if hosts is not None or profiles else 3
    chosen = labs.load_profiles().choose(profiles, count)
    kinds = _kinds(image, docker_on, len(chosen))
    made = labs.up(
        name,
        chosen,
        kind=kinds,
        system=[systems[index % len(systems)] for index in range(len(chosen))] if systems else "",
        offline=offline,
        with_mirror=mirror,
        inventory=inventory,
        timeout=timeout,
        progress=_progress,
    )
    click.echo(f"lab {made.name}" + (" (offline)" if offline else ""))
    click.echo(_table([_COLUMNS, *(_row(host) for host in made.hosts)]))
    if made.mirror:
        click.echo(f"mirror: files at {labs.mirror.url(made)}, images at {labs.mirror.registry(made)}")
        click.echo(f"        serves the files in {made.published}; hosts also know it as {made.mirror.name}")
    _show_next(made, inventory)


def _kinds(image: str, docker_on: str | None, count: int) -> list[str]:
    """The kind of image of each host."""
    names = [f"gw{number}" for number in range(1, count + 1)]
    wanted = [word.strip() for word in docker_on.split(",")] if docker_on else []
    if unknown := [word for word in wanted if word not in names]:
        raise click.BadParameter(
            f"no host {', '.join(unknown)} in this lab: {', '.join(names)}", param_hint="--docker-on"
        )
    return ["docker" if name in wanted else image for name in names]


def _show_next(made: labs.Lab, inventory: Path | None) -> None:
    shown = inventory or made.inventory
    option = "" if made.name == "lab" else f" --name {made.name}"
    click.echo(f"inventory: {shown}\n\nnext:")
    click.echo(f"  phi4-edge plan {shown}")
    click.echo(f"  phi4-edge provision {shown}")
    click.echo(f"  phi4-edge lab ssh {made.hosts[0].name}{option}")
    click.echo(f"  phi4-edge lab down{option}")


def _row(host: labs.LabHost) -> tuple[str, ...]:
    return (
        host.name,
        host.profile,
        host.system or "-",
        f"{host.ram_bytes / _GIB:.1f} GiB",
        str(len(host.cpus)),
        host.address,
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


@command.command("profiles")
def profiles() -> None:
    """Show the hardware profiles that hosts can have."""
    known = labs.load_profiles()
    rows = [(p.name, f"{p.ram_bytes / _GIB:.1f} GiB", str(p.cpus), p.description) for p in known.rows.values()]
    click.echo(_table([("PROFILE", "RAM", "CPUS", "DESCRIPTION"), *rows]))


@command.command("list")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_labs(output: str) -> None:
    """Show the labs of this machine and the state of their hosts."""
    found = labs.listing()
    if output == "json":
        click.echo(json.dumps({"format": "phi4-edge/labs/1", "labs": [_as_dict(status) for status in found]}, indent=2))
        return
    rows = [
        (status.name, *(_row(host) if host else (name, *["?"] * (len(_COLUMNS) - 1))), state)
        for status in found
        for name, host, state in _hosts(status)
    ]
    if rows:
        click.echo(_table([("LAB", *_COLUMNS, "STATE"), *rows]))
    else:
        click.echo("no labs: make one with `phi4-edge lab up`", err=True)


def _hosts(status: labs.Status) -> list[tuple[str, labs.LabHost | None, str]]:
    """Every host that the lab's files or the engine know; a lab of which only leftovers exist gives one line."""
    planned = {host.name: host for host in status.lab.machines} if status.lab else {}
    names = list(dict.fromkeys([*planned, *status.states])) or ["-"]
    return [(name, planned.get(name), status.states.get(name, "missing")) for name in names]


def _as_dict(status: labs.Status) -> dict[str, Any]:
    hosts = [
        {
            "name": name,
            "state": state,
            "profile": host.profile if host else None,
            "os": host.system if host else None,
            "ram_bytes": host.ram_bytes if host else None,
            "cpus": len(host.cpus) if host else None,
            "address": host.address if host else None,
        }
        for name, host, state in _hosts(status)
    ]
    return {"name": status.name, "inventory": str(status.lab.inventory) if status.lab else None, "hosts": hosts}


@command.command("ssh", context_settings={"ignore_unknown_options": True}, short_help="Open a shell on a host.")
@_name_option
@click.argument("host")
@click.argument("arguments", nargs=-1, metavar="[-- COMMAND...]")
@click.pass_context
def ssh(context: click.Context, name: str, host: str, arguments: tuple[str, ...]) -> None:
    """Open a shell on HOST, or run COMMAND there and exit with its status."""
    lab = labs.load(name)
    argv = labs.ssh_command(lab, lab.host(host), arguments, ["-o", "ConnectTimeout=10"])
    done = subprocess.run(argv, check=False, env=allowed(os.environ, Need.SSH))
    context.exit(done.returncode)


@command.command("down")
@_name_option
@click.option("--all", "everything", is_flag=True, help="Remove every lab.")
@click.option("--images", is_flag=True, help="Remove the cached images too; the next `lab up` builds them again.")
def down(name: str, everything: bool, images: bool) -> None:
    """Remove a lab: containers, volumes, networks and files."""
    removed = bool(labs.down_all(_progress)) if everything else labs.down(name, _progress)
    if not removed:
        _progress("no labs to remove" if everything else f"there is no lab named {name!r}: nothing to remove")
    if images:
        _progress(f"removed {labs.drop_images()} cached images")
