"""A store for one test or scenario: the tiny model of a shared store and its environments, and no release or image.

As a program: `own_store.py SHARED FOLDER`; a store of before is replaced.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path


def own_store(shared: Path, folder: Path) -> Path:
    """A store with the tiny model of the shared one, its environments and wheels, and no image or release of before."""
    folder.mkdir(parents=True)
    # The locks come along: whoever makes an environment is waited for, from whichever store he works.
    for name in ("environments", "wheelhouses", "locks"):
        (shared / name).mkdir(exist_ok=True)
        (folder / name).symlink_to(shared / name)
    index = json.loads((shared / "index.json").read_text())
    index["artifacts"] = {name: line for name, line in index["artifacts"].items() if name.startswith("tiny/")}
    for line in index["artifacts"].values():
        shutil.copytree(shared / line["path"], folder / line["path"])
    (folder / "index.json").write_text(json.dumps(index))
    return folder


if __name__ == "__main__":
    made = Path(sys.argv[2])
    if made.exists():
        shutil.rmtree(made)
    own_store(Path(sys.argv[1]).absolute(), made)
