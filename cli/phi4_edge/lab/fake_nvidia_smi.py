#!/usr/bin/python3
"""A fake of nvidia-smi for a lab host whose GPU is simulated: shows given values, knows no hardware.

It answers `-L`, `--query-gpu=FIELDS --format=csv[,noheader][,nounits]` and `--version` as the real tool does, and
refuses everything else. A file on the host holds the values; it needs the host's Python and nothing more.
"""

import json
import sys

CARDS = "/usr/local/share/fake-gpu/cards.json"
UNITS = {"memory.total": "MiB", "memory.used": "MiB", "memory.free": "MiB", "utilization.gpu": "%"}


def query(cards: list[dict[str, str]], fields: list[str], shape: list[str]) -> list[str]:
    """CSV lines as the real tool writes them. Raises KeyError for a field that it does not have."""
    units = {} if "nounits" in shape else UNITS
    head = [", ".join(f"{field} [{UNITS[field]}]" if field in UNITS else field for field in fields)]
    rows = [", ".join(f"{card[field]} {units.get(field, '')}".strip() for field in fields) for card in cards]
    return rows if "noheader" in shape else head + rows


def answer(arguments: list[str], cards: list[dict[str, str]]) -> tuple[int, list[str]]:
    """Exit code and lines of the tool."""
    options = dict(argument.partition("=")[::2] for argument in arguments)
    if "--query-gpu" in options and options.get("--format", "").startswith("csv"):
        try:
            return 0, query(cards, options["--query-gpu"].split(","), options["--format"].split(","))
        except KeyError as error:
            return 2, [f'Field "{error.args[0]}" is not a valid field to query.']
    if arguments in (["-L"], ["--list-gpus"]):
        return 0, [f"GPU {card['index']}: {card['name']} (UUID: {card['uuid']})" for card in cards]
    if arguments == ["--version"]:
        return 0, [f"NVIDIA-SMI version  : {cards[0]['driver_version']} (fake, of the lab)"]
    return 3, [f"fake nvidia-smi of the lab: it has no answer to: {' '.join(arguments)}"]


def main() -> int:
    """Write the answer to the command line."""
    with open(CARDS, encoding="utf-8") as handle:  # noqa: PTH123 (as short as a fake should be)
        code, lines = answer(sys.argv[1:], json.load(handle))
    sys.stdout.write("\n".join(lines) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
