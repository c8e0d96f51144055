"""What NVIDIA's driver says of each GPU, sent to the host in front of probe.py.

Python 3.8, standard library.
"""

from __future__ import annotations

import re

from hosttools import failure, run

FIELDS = ("index", "name", "memory.total", "memory.used", "driver_version", "compute_cap", "uuid")
MODES = ("index", "mig.mode.current", "compute_mode")
UNKNOWN_FIELD = re.compile(r'Field "([a-z_.]{1,60})" is not a valid field')


def nvidia_smi(fields: tuple[str, ...]) -> str:
    """A row for each GPU, whatever the exit status, which comes last with what else was said.

    A driver rejects the whole query for one field that it does not know: it is asked again without it.
    """
    asked = list(fields)
    while True:
        status, out, err = run("nvidia-smi", "--query-gpu=" + ",".join(asked), "--format=csv,noheader,nounits")
        unknown = UNKNOWN_FIELD.search(out + err)
        if not status or unknown is None or unknown.group(1) not in asked[1:]:
            break
        asked.remove(unknown.group(1))
    lines, rows = out.split("\n"), 0
    for at, line in enumerate(lines):
        words = line.split(",")
        if len(words) == len(asked) and words[0].strip().isdigit():
            known, rows = {field: words[place] for place, field in enumerate(asked)}, rows + 1
            lines[at] = ",".join(known.get(field, " [Unknown Field]") for field in fields)
    if not rows and (status or not out.strip()):
        raise failure(status, out, err)
    said = [*err.split("\n"), "exit status %d" % status] if status else []
    return "\n".join(line for line in (*lines, *said) if line.strip())
