"""Checks hosts side by side before Ansible does something there: each over one connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from phi4_edge.core.inventory import Host
from phi4_edge.ssh.finding import Refusal
from phi4_edge.ssh.visit import Purpose, visit


def check(
    hosts: Sequence[Host],
    become: bool = True,
    become_password: str | None = None,
    password: str | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[Refusal, ...]:
    """One finding for each host, in their order; nothing was changed anywhere, and nothing of a host is trusted.

    `become`: root rights will be wanted on hosts that do not say otherwise. The passwords are the operator's, for hosts
    whose inventory names none. Raises InterruptedRunError soon after `stopping()` turned true.
    """
    purpose: Purpose[None] = Purpose(become=become, become_password=become_password or "", password=password or "")
    return tuple(found.refusal for found in visit(hosts, purpose, stopping))
