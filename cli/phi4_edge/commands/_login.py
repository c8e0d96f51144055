"""Options of commands that log in to hosts: what Ansible's and ssh's own programs call so."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from phi4_edge.core.inventory import Login

F = TypeVar("F", bound=Callable[..., object])

# What ssh -J takes: one host or several, each [user@]host[:port] or ssh://[user@]host[:port].
_HOP = r"(?:ssh://)?(?:[\w.+-]+@)?(?:[\w.-]+|\[[0-9A-Fa-f:.%\w]+\])(?::[0-9]{1,5})?"
_JUMP = re.compile(f"{_HOP}(?:,{_HOP})*", re.ASCII)


class _JumpType(click.ParamType[str]):
    """A jump host as ssh -J takes it."""

    name = "[USER@]HOST[:PORT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if text.startswith("-") or not _JUMP.fullmatch(text):
            self.fail(f"found {text!r}, needed USER@HOST:PORT, or several with commas between them", param, ctx)
        return text


@dataclass(frozen=True)
class LoginOptions:
    """What the command line says of logins. `password` asks for that of the login; None where it needs none."""

    login: Login
    password: Callable[[], str] | None

    def asks_for_sudo(self) -> str:
        """The sudo password; "" for the same as that of the login, where there is one."""
        what = "sudo password of the hosts"
        if self.password is None:
            return _asked(what)
        return str(click.prompt(f"{what} (none: that of the login)", "", hide_input=True, show_default=False, err=True))


def _asked(what: str) -> str:
    return str(click.prompt(what, hide_input=True, err=True))


def login_options(function: F) -> F:
    """Adds `--user`, `--ask-pass`, `--private-key` and `--jump`; `function` takes them as `login`."""

    @functools.wraps(function)
    def gathered(
        *args: object, user: str | None, ask_pass: bool, private_key: Path | None, jump: str | None, **rest: object
    ) -> object:
        key = str(private_key.expanduser().absolute()) if private_key else ""
        asks = functools.partial(_asked, "ssh password of the hosts") if ask_pass else None
        return function(*args, login=LoginOptions(Login(user or "", key, jump or ""), asks), **rest)

    options = (
        click.option(
            "--user", "-u", metavar="USER", help="Log in as USER where the inventory sets no ansible_user.", type=str
        ),
        click.option("--ask-pass", "-k", is_flag=True, help="Ask for the password of the login."),
        click.option(
            "--private-key",
            "--key-file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Log in with this key where the inventory sets no ansible_ssh_private_key_file.",
        ),
        click.option("--jump", type=_JumpType(), help="Reach the hosts through this jump host, as ssh -J does."),
    )
    wrapped: Any = gathered
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]
