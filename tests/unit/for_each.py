"""One test that holds many files to the same rule: a test of its own for each would cost more than what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path


def for_each(paths: Iterable[Path]) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """Makes a check of one file a test of all of them, which names each that fails, and why."""
    given = list(paths)

    def made(check: Callable[[Path], None]) -> Callable[[], None]:
        def test() -> None:
            assert given, "found no file, needed some"
            wrong = []
            for path in given:
                try:
                    check(path)
                except AssertionError as error:
                    wrong.append(f"{path}: {error}")
            assert not wrong, "\n".join(wrong)

        test.__name__, test.__doc__, test.__module__ = check.__name__, check.__doc__, check.__module__
        return test

    return made
