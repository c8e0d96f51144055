"""Asks before hosts are changed."""

from __future__ import annotations

import sys

import click

from phi4_edge.errors import Phi4EdgeError


def confirm(question: str, yes: bool) -> None:
    """The operator has agreed afterwards. Raises Phi4EdgeError when not, or when there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Phi4EdgeError(f'found no terminal to ask "{question}" on, needed one or --yes; nothing was changed')
    if not click.confirm(question, err=True):
        raise Phi4EdgeError("not confirmed; nothing was changed")
