"""`phi4-edge bundle`: one file with everything that a fleet's plans need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phi4_edge.artifacts.store.images import Images
from phi4_edge.commands import _options, _signing
from phi4_edge.operations.options import Reach
from phi4_edge.report import output as report_output
from phi4_edge.report import summary
from phi4_edge.report.text import count, cut, size_of, table

if TYPE_CHECKING:
    from phi4_edge.artifacts.bundle.bundle import Bundle
    from phi4_edge.artifacts.signing.making import Signing
    from phi4_edge.core.plan.model import Plan
    from phi4_edge.operations.plan import PlanSet
    from phi4_edge.view.view import View


@click.group("bundle")
def command() -> None:
    """Pack everything that a fleet needs into one file, and provision from it without internet access.

    A bundle holds models, wheels, release archives and images for the plans of the hosts in an inventory, a manifest
    with the SHA-256 of each file, and a bill of materials (CycloneDX, in sbom.cdx.json). Create it on a controller with
    internet access, carry it to the site, and provision from it there.

    \b
    Examples:
      phi4-edge bundle create inventory/gateways.ini -o fleet.tar
      phi4-edge bundle verify fleet.tar
      phi4-edge provision inventory/gateways.ini --bundle fleet.tar
    """


@command.command("create")
@click.argument("inventory", nargs=-1, metavar="[INVENTORY...]")
@click.option(
    "--facts", "facts", multiple=True, metavar="FILE...", help="Plan from files written by `detect --raw`; - is stdin."
)
@click.option(
    "--set", "pairs", multiple=True, metavar="KEY=VALUE", help="A phi4_* variable; overrides the inventory's."
)
@click.option(
    "--output", "-o", "target", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write."
)
@_signing.options
@_options.reach_options
def create(
    inventory: tuple[str, ...],
    facts: tuple[str, ...],
    pairs: tuple[str, ...],
    target: Path,
    wish: _signing.Wish,
    reach: Reach,
) -> None:
    """Probe the hosts, plan, and write everything that their plans need to one file.

    With --facts no host is contacted: each FILE is output of `detect --raw` from the site. Whatever is missing in the
    store is fetched, converted and built first. The hosts are not changed.

    With --sign the file is signed with a minisign secret key. The signature is valid for --days; a site that
    accepted a bundle refuses those with a lower --counter, which by default is the time of creation.

    \b
    Examples:
      phi4-edge bundle create inventory/gateways.ini -o fleet.tar
      phi4-edge bundle create inventory/gateways.ini --sign minisign.key -o fleet.tar
      phi4-edge bundle create --facts site.jsonl --set phi4_engine=ollama -o site.tar

    \b
    Exit codes: 0 written, 1 usage, 3 something is not available, or nothing fits a host,
    5 a host is unreachable (the file then lacks what that host needs).
    """
    from phi4_edge.view.view import progress_view

    if not facts and not inventory:
        raise click.UsageError("needed an INVENTORY to probe, or --facts FILE")
    if not target.absolute().parent.is_dir():  # said now, and not after gigabytes were fetched
        raise click.BadParameter(f"found no folder {target.absolute().parent}, needed one", param_hint="--output")
    signing = wish.signing()  # asks for passwords now, and not after gigabytes were fetched
    with progress_view() as view:
        planned, contents = _Making(inventory, facts, pairs, reach, view).run(target, signing)
    for result in planned.problems:
        click.echo("\n".join(summary.trouble(result.to_dict(), _options.width())), err=True)
    hosts = count(len(contents.hosts), "host")
    click.echo(f"{target}  {size_of(target.stat().st_size)}  {count(len(contents.files), 'file')} for {hosts}")
    raise click.exceptions.Exit(planned.exit_code)


@command.command("verify", short_help="Check every byte of a bundle.")
@click.argument("file", type=_options.existing_file)
@_options.output_option
def verify(file: Path, output: str) -> None:
    """Check every byte of FILE and who signed it, and show its contents and which host needs what.

    If keys are trusted (`phi4-edge trust`), one of them must have signed FILE, or FILE.minisig beside it, it must
    not have expired, and it must not be older than the one used last.

    The checks are those of `provision --bundle`: everything listed is complete, wheels match this
    installation's locks, images are followed from their digests, and no tag pinned in the store is moved.
    Nothing is written.

    \b
    Example:
      phi4-edge bundle verify fleet.tar

    \b
    Exit codes: 0 complete and for this installation, 3 anything else, or not signed by a trusted key.
    """
    from phi4_edge import content
    from phi4_edge.artifacts.bundle.bundle import Bundle
    from phi4_edge.artifacts.store.store import Store
    from phi4_edge.operations import trust
    from phi4_edge.view.telling import teller
    from phi4_edge.view.view import progress_view

    with progress_view() as view:
        bundle = Bundle.open(file, content, teller(view), gate=trust.gate())
    bundle.require_place(Store())
    if output != "table":
        click.echo(report_output.dump(_document(file, bundle), output))
        return
    found = bundle.contents
    cells = [(host, what["engine"], what["service_manager"], what["model"]) for host, what in found.hosts.items()]
    _options.show(table(("HOST", "ENGINE", "UNDER", "MODEL"), cells, _options.width()))
    click.echo(cut(f"{file} is whole: {count(len(found.files), 'file')}", 400), err=True)
    click.echo(cut(f"{file} is {bundle.passed.note}", 400), err=True)


def _document(file: Path, bundle: Bundle) -> dict[str, Any]:
    """What a bundle holds, and who signed it, as data."""
    found = bundle.contents
    return {
        "file": str(file), "phi4_edge_version": found.version, "artifacts": dict(found.artifacts),
        "images": {key: dict(entry) for key, entry in found.images.items()},
        "wheelhouses": list(found.wheelhouses),
        "hosts": {host: dict(what) for host, what in found.hosts.items()},
        "signed": _signing.document(bundle.passed),
    }  # fmt: skip


class _Making:
    """One `bundle create`: plan, have everything in the store, plan again with the digests, write."""

    def __init__(
        self, inventory: Sequence[str], facts: Sequence[str], pairs: Sequence[str], reach: Reach, view: View
    ) -> None:
        from phi4_edge.artifacts.store.store import Store

        self.inventory, self.facts, self.pairs, self.reach, self.view = inventory, facts, pairs, reach, view
        self.store = Store()

    def run(self, target: Path, signing: Signing | None) -> tuple[PlanSet, Any]:
        """The plans, and the manifest of the file that was written. Raises ArtifactError when it could not be."""
        from phi4_edge import artifacts, content
        from phi4_edge.artifacts.bundle import bundle
        from phi4_edge.data import load_catalog
        from phi4_edge.errors import PreflightError
        from phi4_edge.view.telling import teller

        decide = self._seen()
        tell, ready = teller(self.view), set()
        for plan in self._applicable(decide()):
            if (key := artifacts.delivery.key(plan)) not in ready:
                artifacts.ensure(self.store, load_catalog(), plan, content, tell)
                ready.add(key)
        planned = decide()
        plans = self._applicable(planned)
        if not plans:
            raise PreflightError("no host has a plan that could be carried out, so there is nothing to pack")
        return planned, bundle.create(self.store, plans, content, target.absolute(), tell, signing)

    @staticmethod
    def _applicable(planned: PlanSet) -> list[Plan]:
        return [plan for plan in planned.plans if plan.fits and plan.applicable]

    def _seen(self) -> Any:
        """Look once; what comes back decides with what the store holds at each call."""
        from phi4_edge.commands import _facts_files
        from phi4_edge.operations.fleet import Fleet
        from phi4_edge.operations.plan import Planner, PlanSet

        settings = _facts_files.settings(self.pairs)

        def planner() -> Planner:
            return Planner(self.store.digests(), Images(self.store).digests())

        if self.facts:
            found = _facts_files.read([*self.facts, *self.inventory], settings)
            return lambda: PlanSet.of({seen.host: _facts_files.decide(planner(), seen) for seen in found})
        fleet = Fleet.open(self.inventory, self.reach, settings)
        survey = fleet.survey(self.view)
        return lambda: fleet.plan(planner(), survey)
