"""Become the given command, after asking the kernel to kill it when the parent dies.

`python -I -S tether.py PARENT_PID COMMAND…`. A killed CLI (SIGKILL runs no handler) must not leave a converter behind
that eats the machine's memory. Linux only; elsewhere the command simply runs.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

if __name__ == "__main__":
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the call above took effect.
        if os.getppid() != parent:
            sys.exit(f"the process that started {command[0]} is gone")
    os.execvp(command[0], command)  # noqa: S606  this is what the script is for
