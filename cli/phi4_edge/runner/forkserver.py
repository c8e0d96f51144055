"""A process that has imported Ansible, of which each run gets a copy: half of a short run's CPU is that import."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from phi4_edge.errors import RunnerError
from phi4_edge.runner import forked, playbook

# -P: what lies beside the program is no module of Ansible's.
SERVER = (sys.executable, "-P", playbook.__file__)
CLIENT = (sys.executable, "-I", "-S", forked.__file__)


class ForkServer:
    """Started when it is first needed, and again for another environment: Ansible reads its settings at its import.

    What it leaves is in `folder`, which is private. Whoever made it closes it.
    """

    def __init__(self, folder: Path) -> None:
        self._address = folder / "ansible"
        self._said = Path(f"{self._address}{forked.SAID}")
        self._for: tuple[Mapping[str, str], Path] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pids(self) -> frozenset[int]:
        """The process that is kept from one run to the next; none where there is none."""
        return frozenset({self._process.pid}) if self._process else frozenset()

    def command(self, env: Mapping[str, str], cwd: Path) -> tuple[str, ...]:
        """What to put before `ansible-playbook` and its arguments, in `cwd` and with at least this environment.

        Raises RunnerError where no process can be started.
        """
        if self._for != (env, cwd) or self._process is None or self._process.poll() is not None:
            self.close()
            try:
                self._start(env, cwd)
            except OSError as error:
                raise RunnerError(
                    f"found no way to start Ansible in {cwd} ({error.strerror or error}), needed one more process, "
                    f"and room in {self._address.parent}"
                ) from error
            self._for = (dict(env), cwd)
        return (*CLIENT, str(self._address))

    def close(self) -> None:
        """The process has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._for = None
        self._address.unlink(missing_ok=True)

    def _start(self, env: Mapping[str, str], cwd: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listening, self._said.open("w+b") as said:
            with forked.address(self._address) as where:
                listening.bind(where)
            listening.listen()
            self._process = subprocess.Popen(
                [*SERVER, str(listening.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                cwd=cwd,
                env=dict(env),
                pass_fds=[listening.fileno()],
            )
