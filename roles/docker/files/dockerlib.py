"""What the scripts share that change Docker's configuration: merging settings, and the memory of what we did.

Sent in front of the script that uses it, behind hostlib and hostrun; Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import stat

from hostlib import HostError, Json, own_directory, read_json, system_directory, write_atomic, write_json
from hostrun import clean, command

FORMAT = "phi4-edge/docker/1"
# Beside daemon.json: its last content that was not ours.
BACKUP = ".before-phi4-edge"
# Name here, and path in what `docker info` prints; the whole of that has no bounded length.
INFO = {
    "version": "ServerVersion", "storage": "Driver", "live_restore": "LiveRestoreEnabled",
    "running": "ContainersRunning", "swarm": "Swarm.LocalNodeState",
}  # fmt: skip
# Options that only mean something to the log driver that they were written for.
OF_THE_LOG_DRIVER = ("log-opts", "log-driver", "json-file")


def read(path: str) -> bytes | None:
    """The file as it is, None where there is none. Raises HostError for anything that is no file of its own."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise HostError(f"found {path} that is a link or no file, needed a regular one: something else manages it")
    with open(path, "rb") as stream:
        return stream.read()


def parse(path: str, data: bytes | None) -> Json:
    """The settings in the file. Raises HostError for text that Docker could not read either; nothing is touched."""
    if data is None or not data.strip():
        return {}
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise HostError(
            f"found {path} that is not JSON ({clean(str(error), 200)}): repair it, or move it away"
        ) from None
    if not isinstance(document, dict):
        raise HostError(f"found {path} that holds no JSON object: repair it, or move it away")
    return document


def digest(data: bytes | None) -> str:
    return "absent" if data is None else hashlib.sha256(data).hexdigest()


def merged(base: Json, extra: Json) -> Json:
    """`base` with what `extra` has beyond it, at any depth; where both have a value, that of `base`."""
    result = copy.deepcopy(base)
    for key, value in extra.items():
        if key not in result:
            result[key] = copy.deepcopy(value)
        elif isinstance(result[key], dict) and isinstance(value, dict):
            result[key] = merged(result[key], value)
    return result


def beyond(result: Json, base: Json) -> Json:
    """What `result` has that `base` has not."""
    extra = {}
    for key, value in result.items():
        if key not in base:
            extra[key] = value
        elif isinstance(value, dict) and isinstance(base[key], dict) and beyond(value, base[key]):
            extra[key] = beyond(value, base[key])
    return extra


def without(current: Json, added: Json) -> Json:
    """`current` without the settings in `added` that still have our value; a mapping that we made empty goes too."""
    result = copy.deepcopy(current)
    for key, value in added.items():
        if key not in result:
            continue
        if isinstance(value, dict) and isinstance(result[key], dict):
            result[key] = without(result[key], value)
            if not result[key]:
                del result[key]
        elif result[key] == value:
            del result[key]
    return result


def conflicts(base: Json, required: Json, path: str = "") -> list[str]:
    """Settings of `base` that say something else than `required`, as texts."""
    found = []
    for key, value in required.items():
        where = f"{path}{key}"
        if key not in base:
            continue
        if isinstance(value, dict) and isinstance(base[key], dict):
            found += conflicts(base[key], value, where + ".")
        elif base[key] != value:
            found.append(f"{where} is {json.dumps(base[key])}, needed {json.dumps(value)}")
    return found


def fitting(base: Json, defaults: Json, swarm: bool) -> Json:
    """Those of our defaults that can stand beside the operator's settings."""
    options, driver, ours = OF_THE_LOG_DRIVER
    kept = dict(defaults)
    if base.get(driver, ours) != defaults.get(driver, ours):
        kept.pop(options, None)
    if swarm:
        kept.pop("live-restore", None)  # Docker refuses to start with both
    return kept


def info() -> Json:
    """What the engine says about itself, by the names in INFO; {} when it does not answer."""
    fields = ", ".join(f'"{name}": {{{{json .{path}}}}}' for name, path in INFO.items())
    status, output = command("docker", "info", "--format", "{" + fields + "}", timeout=20.0)
    start = output.find("{")
    if status or start < 0:
        return {}
    with contextlib.suppress(ValueError):  # an engine that does not answer leaves gaps in the text
        found = json.JSONDecoder().raw_decode(output[start:])[0]
        return found if isinstance(found, dict) else {}
    return {}


def memory_path(args: Json) -> str:
    return os.path.join(args["state"], "docker.json")


def recall(args: Json) -> Json:
    """What we did to this host's Docker; an empty memory where there is none."""
    known = read_json(memory_path(args))
    return known if isinstance(known, dict) and known.get("format") == FORMAT else {"format": FORMAT}


def remember(args: Json, known: Json) -> None:
    """Readable by root alone: the file as it was found may hold a proxy's password."""
    own_directory(args["state"], 0o755)
    write_json(memory_path(args), known, 0o600)


def put(path: str, data: bytes, like: Json) -> None:
    """`path` holds `data` with mode and owner of the file that it stands for."""
    system_directory(os.path.dirname(path))
    write_atomic(path, data, like["mode"])
    os.chown(path, like["uid"], like["gid"])
