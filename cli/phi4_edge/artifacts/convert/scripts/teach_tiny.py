"""Teach the tiny model: `python -I teach_tiny.py '{"output": …, "seed": …}'`, inside the converter environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    # -I leaves out this script's own folder.
    sys.path.insert(0, str(Path(__file__).parent))
    import teaching  # type: ignore[import-not-found]

    arguments = json.loads(sys.argv[1])
    teaching.main(Path(arguments["output"]), int(arguments["seed"]))
