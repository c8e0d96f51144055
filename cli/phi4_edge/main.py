"""The program: a group whose commands are imported only when they are used, and the map from errors to exit codes.

Imports nothing but click and light modules of this package, so that `--help` answers at once.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

import click

from phi4_edge import __version__
from phi4_edge.core.text import printable
from phi4_edge.errors import AGAIN, InterruptedRunError, Phi4EdgeError

# Help lines live here, not in the commands: listing them must not import them.
COMMANDS = {
    "detect": "Probe hosts and show their hardware and software.",
    "plan": "Show what each host can run, why, and what would change.",
    "provision": "Make each host serve the model, and prove that it answers.",
    "rollback": "Return each host to its previous release.",
    "status": "Say what each host serves, and what drifted.",
    "verify": "Ask every host the same questions, and compare the answers.",
    "bench": "Measure how fast the model is on each host; plans use it.",
    "ask": "Ask the model on the hosts a question.",
    "doctor": "Look for what would get in the way, and say how to fix it.",
    "rollout": "List past rollouts, and show one.",
    "report": "Write a rollout as a page, Markdown or JSON.",
    "lock": "Show which runs have locked the hosts, or release a dead run's lock.",
    "balance": "Serve one address for many gateways, from a host of the group balancers.",
    "remove": "Remove what was installed, and nothing else.",
    "model": "Fetch, convert and keep model artifacts on this controller.",
    "bundle": "Pack everything that a fleet needs into one file, for use without internet access.",
    "key": "Manage the keys with which clients use the gateways of an inventory.",
    "trust": "Manage the keys that bundles must be signed with.",
    "export": "Write what other programs need to know of the fleet, such as Prometheus and Grafana.",
    "lab": "Boot disposable gateways on this machine to try things on.",
}

# What this program starts itself on other machines.
HIDDEN = frozenset({"worker"})

# After Ctrl-C everything that was started is ended by those who started it; this is for what is left then.
LEAVE_SECONDS = 0.5

INTERRUPTED = f"\ninterrupted: what was running has been stopped; {AGAIN} to continue"


@contextlib.contextmanager
def _exit_codes(debug: bool) -> Iterator[None]:
    """Turns what escapes into a message on stderr and an exit code; with `debug`, the traceback comes first."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError as error:
        _leave(error.format_message(), 1)
    except click.UsageError as error:
        hint = f"\nTry '{error.ctx.command_path} --help' for help." if error.ctx else ""
        _leave(f"error: {printable(error.format_message())}{hint}", 1)
    except Phi4EdgeError as error:
        _leave(f"error: {printable(error)}", error.exit_code, debug)
    except KeyboardInterrupt:
        _leave(INTERRUPTED, 130, debug)
    except click.Abort as error:  # at a question: click makes the same of Ctrl-C and of the end of input
        if isinstance(error.__context__, KeyboardInterrupt):
            _leave(INTERRUPTED, 130, debug)
        raise
    except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
        raise
    except Exception:
        _leave("error: this is a bug in phi4-edge; please report it with the text above", 1, debug=True)


def _leave(message: str, code: int, debug: bool = False) -> NoReturn:
    if debug:
        traceback.print_exc()
    click.echo(message, err=True)
    raise click.exceptions.Exit(code)


class Program(click.Group):
    """Finds a command's module by the command's name, and reports errors the same way for all of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS and cmd_name not in HIDDEN:
            return None
        command: click.Command = importlib.import_module(f"phi4_edge.commands.{cmd_name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _exit_codes(debug=False):
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _exit_codes(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, "-V", "--version", message="phi4-edge %(version)s")
def cli(debug: bool) -> None:
    """Serve Phi-4-mini-instruct on a fleet of gateways, over SSH.

    \b
    Examples:
      phi4-edge plan inventory/gateways.ini
      phi4-edge provision inventory/gateways.ini --limit 'eu_*'
      phi4-edge ask inventory/gateways.ini "Summarise: ..." --limit gw1
    """


def main() -> None:
    """Runs the program; ends with one of the exit codes of `phi4_edge.errors`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an ASCII terminal shows a host's UTF-8 name escaped
    # SIGTERM as Ctrl-C: left to itself it would end us between two lines, and what we started would stay. SIGINT too:
    # a shell that starts us in the background has told us to ignore it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        cli(prog_name="phi4-edge")
    except SystemExit as end:
        if end.code == InterruptedRunError.exit_code:
            _leave_soon()
            # One interrupted run ended by SIGINT in place of this code, after its message; why is not known. What
            # Python does at its end no longer decides about it.
            atexit.register(os._exit, InterruptedRunError.exit_code)
        raise


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _leave_soon() -> None:
    """The process is gone in LEAVE_SECONDS, whichever thread or exit handler of a library would still hold it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    timer = threading.Timer(LEAVE_SECONDS, os._exit, (InterruptedRunError.exit_code,))
    timer.daemon = True
    timer.start()
