"""What an operator says of every command that works on a fleet: how hosts are reached, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from phi4_edge.core.inventory import Login, VaultSecret
from phi4_edge.core.rollout.waves import Size

_NO_LOGIN = Login()


@dataclass(frozen=True)
class Reach:
    """How the operator wants the hosts reached. `login` counts where the inventory says nothing else.

    `password` asks for that of sudo there, `login_password` for that of the login; None where it needs none.
    `vaults` open the inventory; those that are to be typed have been. `extra_vars`: each as it was given, over the
    inventory's; they may hold secrets. `verbosity`: how much Ansible and we tell on the terminal.
    `warn` shows the operator what is odd about the inventory, a line at a time.
    """

    limit: str | None
    forks: int
    password: Callable[[], str] | None
    warn: Callable[[str], object]
    vaults: tuple[VaultSecret, ...] = ()
    extra_vars: tuple[str, ...] = field(default=(), repr=False)
    verbosity: int = 0
    login: Login = _NO_LOGIN
    login_password: Callable[[], str] | None = None


NAMES = ("canary", "wave", "bake", "max_failures", "step_timeout", "lock_wait", "skip_locked", "workers")
SIZES = ("canary", "wave", "max_failures")
_FIFTH, _NONE = Size(20, percent=True), Size(0)


@dataclass(frozen=True)
class Waving:
    """How the operator wants a fleet gone over. `canary` None: one host per distinct plan. Times in seconds.

    `given`: options that are on the command line; the others are defaults.
    """

    canary: Size | None = None
    wave: Size = _FIFTH
    bake: float = 60.0
    max_failures: Size = _NONE
    step_timeout: int = 2700
    lock_wait: int = 0
    skip_locked: bool = False
    workers: tuple[str, ...] = ()
    given: frozenset[str] = frozenset()

    @property
    def task_timeout(self) -> int:
        """Seconds that one task may take: waiting for a lock is one too."""
        return max(self.step_timeout, self.lock_wait + 60)

    def to_dict(self) -> dict[str, Any]:
        """The options as a rollout's record keeps them."""
        sizes = {"canary": self.canary, "wave": self.wave, "max_failures": self.max_failures}
        texts = {name: None if size is None else str(size) for name, size in sizes.items()}
        times = {"bake": self.bake, "step_timeout": self.step_timeout, "lock_wait": self.lock_wait}
        return {**texts, **times, "skip_locked": self.skip_locked, "workers": list(self.workers)}

    def recorded(self, options: Mapping[str, Any]) -> Waving:
        """These options, with those of a rollout's record in the place of defaults."""
        found = {name: options[name] for name in NAMES if name in options and name not in {*self.given, "workers"}}
        sizes = {name: Size.parse(found[name]) for name in SIZES if found.get(name) is not None}
        return replace(self, **{**found, **sizes})
