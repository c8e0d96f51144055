"""`phi4-edge report`: a rollout as a page for people, Markdown, JSON or JUnit. Reads the journal; touches no host."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from phi4_edge.errors import Phi4EdgeError

FORMATS = ("html", "markdown", "json", "junit")
SUFFIXES = {
    ".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown", ".json": "json", ".xml": "junit",
}  # fmt: skip


@click.command("report")
@click.argument("rollout", metavar="ROLLOUT")
@click.option(
    "--file",
    "-o",
    metavar="FILE",
    help="Where to write; - is stdout. By default a page goes to a file named after the id, the others to stdout.",
)
@click.option("--output", type=click.Choice(FORMATS), help="Format; by default that of FILE's name, or a page (html).")
def command(rollout: str, file: str | None, output: str | None) -> None:
    """Write up a rollout for whoever is on call: what is wrong, where, why, and what to run next.

    ROLLOUT is an id, the beginning of one, or `last`. The page is a single file that loads nothing and runs no script.

    \b
    Examples:
      phi4-edge report last -o report.html
      phi4-edge report 20261122T153000Z --output markdown
      phi4-edge report last --output json
      phi4-edge report last --output junit -o rollout.xml

    \b
    Exit codes: 0 written, 1 no such rollout, or it cannot be read or written.
    """
    from phi4_edge.rollout import journal, record

    if file in (*FORMATS, "table", "yaml"):
        raise click.UsageError(f"found -o {file}, needed the name of a file: the format is --output {file}")
    form = output or SUFFIXES.get(Path(file or "").suffix.lower(), "html")
    root = journal.state_root()
    name = record.find(root, rollout)
    text = _text(record.load(root, name), form)
    if file == "-" or (file is None and form != "html"):
        click.echo(text, nl=False)
        return
    path = Path(file or f"{name}.html")
    _write(path, text)
    click.echo(f"wrote {path}", err=True)


def _text(document: dict[str, object], form: str) -> str:
    """The rollout in that format, with a line end."""
    from datetime import UTC, datetime

    from phi4_edge.report import output as report_output
    from phi4_edge.report.rollout import junit, markdown, page

    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if form == "json":
        return report_output.to_json(document) + "\n"
    if form == "junit":
        return junit.text(document)
    if form == "markdown":
        return "\n".join(markdown.lines(document, written)) + "\n"
    return page.page(document, written)


def _write(path: Path, text: str) -> None:
    """The whole file or none of it. Only its owner may read it: it names hosts, and shows what their services log."""
    place: Path | None = None
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe
            path.write_text(text, encoding="utf-8")
            return
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        place = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        place.replace(path)
    except OSError as error:
        if place:
            place.unlink(missing_ok=True)
        raise Phi4EdgeError(
            f"found {path} not writable ({error.strerror}), needed a file in an existing folder: name another with -o"
        ) from error
