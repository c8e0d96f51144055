"""What the host tells other people's plays of the release that serves: a local fact of Ansible, made from the receipt.

Sent in front of the script that uses it; Python 3.8 or newer, standard library only. It is data and never a program:
Ansible runs what is executable in that folder.
"""

from __future__ import annotations

import json
import os
import stat

from hostlib import Json, fsync_directory, read_json, remove_tree, system_directory, write_atomic, write_json

FOLDER = "/etc/ansible/facts.d"
FILE, FORMAT, MODE = "phi4_edge.fact", "phi4-edge/fact/1", 0o644
# Below the state: which folders were not there before us.
NOTE, NOTE_FORMAT = "fact.json", "phi4-edge/fact-note/1"
# Of the receipt, under the same names; all of it could be read by anybody there already. Not when it was committed: a
# file that was repaired is the one that it was.
NAMES = (
    "release", "previous_release", "engine", "quantization", "model", "service_manager", "unit", "bind", "port",
    "context_length", "parallel",
)  # fmt: skip


def path() -> str:
    """Where Ansible looks for it: `ansible_facts.ansible_local.phi4_edge`."""
    return os.path.join(FOLDER, FILE)


def content(receipt: Json) -> bytes:
    """The text of the fact of a receipt."""
    told = {"format": FORMAT, "version": receipt.get("phi4_edge_version")}
    told.update((name, receipt[name]) for name in NAMES if name in receipt)
    return (json.dumps(told, indent=2, sort_keys=True) + "\n").encode()


def differs(receipt: Json) -> bool:
    """Whether the fact on the host is not that of the receipt: other words, another mode, or no file."""
    try:
        found = os.lstat(path())
        if not stat.S_ISREG(found.st_mode) or stat.S_IMODE(found.st_mode) != MODE:
            return True
        wanted = content(receipt)
        with open(path(), "rb") as stream:
            return stream.read(len(wanted) + 1) != wanted
    except OSError:
        return True


def write(state: str, receipt: Json) -> bool:
    """The fact is that of the receipt, durably; true where it was not. What folders that took is noted before."""
    if not differs(receipt):
        return False
    missing = [folder for folder in (FOLDER, os.path.dirname(FOLDER)) if not os.path.isdir(folder)]
    made = _made(state)
    if made is None or missing:
        folders = [*missing, *(folder for folder in made or () if folder not in missing)]
        write_json(os.path.join(state, NOTE), {"format": NOTE_FORMAT, "made": folders}, 0o600)
    system_directory(FOLDER)
    write_atomic(path(), content(receipt), MODE)
    return True


def traces(state: str) -> list[str]:
    """What `remove` would take away: the fact, where it is ours, and the folders that would be empty then."""
    found = [path()] if _ours(state) else []
    for folder in sorted(_made(state) or (), key=len, reverse=True):
        if os.path.isdir(folder) and not {os.path.join(folder, name) for name in os.listdir(folder)} - set(found):
            found.append(folder)
    return found


def remove(state: str) -> list[str]:
    """Nothing of the fact is left, nor a folder that was made for it and is empty; what was removed."""
    found = traces(state)
    for each in found:
        if os.path.isdir(each) and not os.path.islink(each):
            os.rmdir(each)
        else:
            remove_tree(each)
        fsync_directory(os.path.dirname(each))
    return found


def _ours(state: str) -> bool:
    """Whether the file is one that we wrote: it is noted, or says so itself where the note was lost."""
    if not os.path.lexists(path()):
        return False
    told = read_json(path())
    return _made(state) is not None or (isinstance(told, dict) and told.get("format") == FORMAT)


def _made(state: str) -> list[str] | None:
    """The folders that we made, of those that there can be; None where nothing is noted."""
    note = read_json(os.path.join(state, NOTE))
    if not isinstance(note, dict) or note.get("format") != NOTE_FORMAT or not isinstance(note.get("made"), list):
        return None
    return [folder for folder in (FOLDER, os.path.dirname(FOLDER)) if folder in note["made"]]
