"""What other programs are told of a fleet, as files in a directory that the operator hands them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phi4_edge.artifacts.store import files
from phi4_edge.core.monitoring import rules, scraping
from phi4_edge.core.monitoring.dashboards import DASHBOARDS
from phi4_edge.core.monitoring.scraping import Target
from phi4_edge.errors import InventoryError, PreflightError
from phi4_edge.operations.fleet import Fleet

# What was written, by name, with the SHA-256 of each: what somebody else changed or made is left alone.
RECORD = ".phi4-edge-export.json"
_FORMAT = "phi4-edge/export/1"
# Of a file of ours; the largest, targets of 10,000 hosts, has 3 MB.
_LIMIT = 16 << 20
_README = """\
Written by phi4-edge export prometheus; run it again after a change of the inventory. It leaves files alone that were
changed by hand, and says so.

- prometheus.yml: the scrape configuration and where the alerts are; paths count from its folder
- targets.json: the gateways (file_sd_configs)
- alerts.yml: the alerts
- dashboard-*.json: dashboards, to be imported in Grafana

Beside prometheus.yml belong {key_file}, which has the key alone that `phi4-edge key add INVENTORY metrics` shows, and
{ca_file}, the certificates that the gateways' own are issued by.
"""
_SHOWN = """\

The gateways want a certificate of clients: {} and {}, its key, belong there too, both as PEM, of one of the CAs of
phi4_gateway_client_ca.
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """The gateways of a fleet that can be scraped, and why each of the others cannot, by its name."""

    targets: tuple[Target, ...]
    left_out: Mapping[str, str]


def watched(fleet: Fleet) -> Watched:
    """Which hosts have a gateway that Prometheus reaches, by the inventory alone. Raises InventoryError."""
    targets: list[Target] = []
    left_out: dict[str, str] = {}
    for host in fleet.hosts:
        try:
            found = scraping.target(host, fleet.variables(host))
        except ValueError as error:
            raise InventoryError(f"{host.name}: {error}") from error
        if isinstance(found, Target):
            targets.append(found)
        else:
            left_out[host.name] = found
    return Watched(tuple(targets), left_out)


def prometheus(targets: Sequence[Target], key_file: str, ca_file: str, shown: tuple[str, str]) -> dict[str, str]:
    """The files for Prometheus and Grafana, by name.

    `shown`: the files of a client's certificate and of its key, which count where a gateway wants one.
    """
    certified = any(each.certified for each in targets)
    readme = _README.format(key_file=key_file, ca_file=ca_file) + (_SHOWN.format(*shown) if certified else "")
    dashboards = {each.file: json.dumps(each.document(), indent=2) + "\n" for each in DASHBOARDS}
    return {
        scraping.TARGETS: scraping.targets_file(targets),
        scraping.CONFIGURATION: scraping.configuration(key_file, ca_file, shown if certified else None),
        scraping.RULES: rules.rules_file(),
        "README.txt": readme,
        **dashboards,
    }


def write(directory: Path, texts: Mapping[str, str]) -> tuple[str, ...]:
    """The files are in the directory; the names of those that were changed.

    Raises PreflightError for a file there that is not as it was written here, and for a directory that cannot be used;
    nothing was written then.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        known = _record(directory / RECORD)
        changed = [name for name, text in sorted(texts.items()) if _differs(directory / name, text, known)]
        digests = {name: _digest(text.encode()) for name, text in texts.items()}
        # The record comes last: should this be cut off, each file is as the record has it, or as it would be now.
        if changed or set(digests.values()) != {known.get(name) for name in digests}:
            for name in changed:
                files.write_text(directory / name, texts[name], 0o644)
            files.write_json(directory / RECORD, {"format": _FORMAT, "sha256": digests}, 0o644)
    except OSError as error:
        raise PreflightError(
            f"{directory} cannot be written ({error.strerror or error}): give it space and rights, or name another "
            "with --directory"
        ) from error
    return tuple(changed)


def _record(path: Path) -> dict[str, str]:
    """What was written last, {} where nothing was."""
    try:
        found = json.loads(files.read_plain(path, _LIMIT) or b"{}")
        digests = found["sha256"] if found.get("format") == _FORMAT else {}
        return {str(name): str(digest) for name, digest in digests.items()}
    except (ValueError, KeyError, AttributeError):
        return {}


def _differs(path: Path, text: str, known: Mapping[str, str]) -> bool:
    """Whether the file is to be written. Raises PreflightError where somebody else wrote what is there."""
    there = files.read_plain(path, _LIMIT)
    if there == text.encode():
        return False
    if there is None and not path.is_symlink() and not path.exists():
        return True
    if there is None or _digest(there) != known.get(path.name):
        raise PreflightError(
            f"found {path}, which is not as it was written here, needed a file of ours or none: move it away, or name "
            "another directory"
        )
    return True


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
