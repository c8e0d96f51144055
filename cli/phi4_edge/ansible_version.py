"""Which versions of ansible-core the plays are tested with; `pyproject.toml` and `meta/runtime.yml` say the same."""

from __future__ import annotations

from importlib import metadata

from phi4_edge.errors import PreflightError

OLDEST, BELOW = (2, 17), (2, 22)
RANGE = ">={}.{},<{}.{}".format(*OLDEST, *BELOW)


def check() -> None:
    """Raise PreflightError where ansible-core is missing or outside the range, before Ansible is imported."""
    try:
        found = metadata.version("ansible-core")
    except metadata.PackageNotFoundError:
        found = "none"
    if not OLDEST <= _series(found) < BELOW:
        raise PreflightError(
            f"found ansible-core {found}, needed {RANGE}: pip install 'ansible-core{RANGE}' into the Python that runs "
            "phi4-edge"
        )


def _series(version: str) -> tuple[int, ...]:
    """(2, 19) of "2.19.14"; () of anything else."""
    words = version.split(".")[:2]
    return tuple(map(int, words)) if len(words) == 2 and all(word.isdecimal() for word in words) else ()
