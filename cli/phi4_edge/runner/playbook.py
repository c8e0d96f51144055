"""Runs `ansible-playbook` as its own program does, with a third less CPU.

Ansible makes some hundred thousand objects while it starts, and keeps nearly all of them: Python's collector looks
through them again and again, and once more in each task's process, which copies their memory for that. Runs alone
(`python -P playbook.py ansible-playbook ARGUMENT...`) and imports nothing of this package.
"""

from __future__ import annotations

import gc
import sys

# Objects made between two looks for cycles; Python's own 700 means hundreds of looks in a run of seconds.
_OBJECTS = 50_000
# How often Ansible asks whether a task has ended; its own 0.001 takes 3 % of a core while a host works, and no setting
# in the environment changes it.
_POLL_SECONDS = 0.005


def main() -> None:
    """Never returns: the process ends with the exit status of `ansible-playbook`."""
    sys.argv = sys.argv[1:]
    gc.disable()
    from ansible import constants
    from ansible.cli import playbook

    gc.freeze()
    gc.set_threshold(_OBJECTS, 20, 100)
    gc.enable()
    constants.DEFAULT_INTERNAL_POLL_INTERVAL = max(_POLL_SECONDS, constants.DEFAULT_INTERNAL_POLL_INTERVAL)
    playbook.main()


if __name__ == "__main__":
    main()
