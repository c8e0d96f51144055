"""Every error that a user can meet, with its exit code.

    Phi4EdgeError            1  internal or usage error
    ├── InventoryError       1  the inventory cannot be read, is empty, or holds an unknown phi4_* variable
    ├── FactsError           1  a facts document is not JSON or lacks what is needed
    ├── CatalogError         1  the resource table or the catalog is malformed
    ├── RunnerError          1  Ansible itself could not run
    ├── WaveError            1  sizes of waves that cannot be, or a rollout that is driven in a wrong order
    ├── RecordError          1  the record of a rollout cannot be found, read or written
    ├── PreflightError       3  something needed before the start is missing; nothing was changed
    │   ├── NoFitError       3  no candidate, or not the one asked for, fits the host
    │   └── ArtifactError    3  an artifact is missing, damaged or cannot be made on this controller
    ├── LabError             3  the lab cannot be made on this machine
    ├── HostFailedError      4  hosts failed while being changed
    ├── UnreachableError     5  hosts could not be reached, or refused us, or have another host key
    ├── LockedError          6  another run holds the host
    └── InterruptedRunError  130  the operator pressed Ctrl-C

A message says what was found, what was needed, and what to do next. Exit codes are the same for all commands.
"""

# What to do where doing it once more is all that there is to do.
AGAIN = "run the same command again"


class Phi4EdgeError(Exception):
    """Root of all expected errors; anything else that escapes is a bug and keeps its traceback."""

    exit_code = 1


class InventoryError(Phi4EdgeError, ValueError):
    """The inventory cannot be used as written."""


class FactsError(Phi4EdgeError, ValueError):
    """A facts document cannot be used."""


class CatalogError(Phi4EdgeError, ValueError):
    """The resource table or the catalog is malformed; the message names row and field."""


class RunnerError(Phi4EdgeError, RuntimeError):
    """Ansible could not run at all (as opposed to a host that failed)."""


class WaveError(Phi4EdgeError, ValueError):
    """Waves cannot be made from these sizes, or a rollout was told something that cannot have happened."""


class RecordError(Phi4EdgeError, ValueError):
    """The record of a rollout cannot be found, read or written."""


class PreflightError(Phi4EdgeError):
    """A condition that must hold before the start does not; no host was changed."""

    exit_code = 3


class NoFitError(PreflightError, LookupError):
    """Nothing that the catalog offers fits the host."""


class ArtifactError(PreflightError, ValueError):
    """An artifact is missing, damaged, or cannot be made on this controller."""


class LabError(Phi4EdgeError, OSError):
    """The lab cannot be made, found or removed."""

    exit_code = 3


class HostFailedError(Phi4EdgeError, RuntimeError):
    """At least one host failed while being changed."""

    exit_code = 4


class UnreachableError(Phi4EdgeError, ConnectionError):
    """At least one host could not be reached or did not accept us."""

    exit_code = 5


class LockedError(Phi4EdgeError, BlockingIOError):
    """Another run holds the host."""

    exit_code = 6


class InterruptedRunError(Phi4EdgeError):
    """The operator interrupted the run; what was started is finished or undone."""

    exit_code = 130
