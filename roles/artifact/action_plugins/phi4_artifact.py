# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a directory on the host equal to one on the controller, in verified pieces, resumable after any cut."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import ITIMER_REAL, getitimer
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

try:
    from phi4_edge import content
    from phi4_edge.core import hostcall, push
    from phi4_edge.errors import Phi4EdgeError
except ImportError as error:
    raise AnsibleActionFail("install phi4-edge into the Python that runs Ansible: pip install phi4-edge") from error

DOCUMENTATION = r"""
module: phi4_artifact
short_description: Make a directory on the host equal to one on the controller
description:
  - Compares the controller's files with their manifest, asks the host what it holds, and sends only what is missing.
  - Each piece and each file is verified by SHA-256 on the host; the finished directory is renamed into place.
options:
  name: {description: What the directory is called in messages., type: str, required: true}
  source: {description: Directory on the controller that holds a manifest.json., type: path, required: true}
  digest: {description: SHA-256 of the content that is wanted., type: str}
  skip: {description: Files that the host does without., type: list, elements: str}
  destination: {description: Directory on the host., type: path, required: true}
  staging: {description: Directory on the host for what is not complete., type: path, required: true}
  piece_bytes: {description: Bytes sent in one request., type: int, required: true}
  reserve_bytes: {description: Bytes of the host's disk that must stay free., type: int, required: true}
  retries: {description: How often a lost connection is tried again., type: int, required: true}
"""
PROGRESS_SECONDS = 5.0


class ActionModule(ActionBase):  # type: ignore[misc]
    """ansible task `phi4_artifact`."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(
        {"name", "source", "digest", "skip", "destination", "staging", "piece_bytes", "reserve_bytes", "retries"}
    )

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        self._vars = task_vars or {}
        self._script = hostcall.compose(*content.host_script("artifact", "push"))
        try:
            return self._push()
        except Phi4EdgeError as error:
            raise AnsibleActionFail(str(error)) from None
        except OSError as error:
            raise AnsibleActionFail(f"cannot read the artifact on the controller: {error}") from None

    def _push(self) -> dict[str, Any]:
        args = self._task.args
        source = Path(args["source"]).expanduser()
        if not (source / "manifest.json").is_file():
            raise AnsibleActionFail(
                f"found no {args['name']} on the controller, needed it in {source}; no host was changed. Run: "
                "phi4-edge provision (which makes what is missing), or phi4-edge model fetch and model convert"
            )
        files, links = push.manifest((source / "manifest.json").read_text(), args.get("digest") or None)
        skip = frozenset(args.get("skip") or ())
        files = tuple(file for file in files if file.path not in skip)
        _compare_sizes(args["name"], source, files)
        self._common = {
            "name": args["name"], "destination": args["destination"], "staging": args["staging"],
            "digest": push.digest(files, links), "files": [file.to_dict() for file in files],
            "links": [link.to_dict() for link in links],
        }  # fmt: skip
        there = self._ask("survey")
        if there["complete"]:
            return {"changed": False, "sent": 0, "msg": f"{args['name']} is already there"}
        self._check_room(there)
        if self._task.check_mode:
            return {"changed": True, "sent": 0, "msg": f"{args['name']}: {there['missing']} bytes would be sent"}
        sent = self._send(source, files, there["have"])
        bad = self._ask("finish")["bad"]
        if bad:  # what an earlier, interrupted run had left was damaged; it was removed and is sent once more
            sent += self._send(source, files, dict.fromkeys(bad, 0))
            bad = self._ask("finish")["bad"]
        if bad:
            raise AnsibleActionFail(
                f"{args['name']}: {', '.join(bad)} reads back differently from what was written twice: "
                "check the host's disk and memory"
            )
        return {"changed": True, "sent": sent, "files": len(files), "msg": f"{args['name']}: {sent} bytes sent"}

    def _check_room(self, there: Mapping[str, Any]) -> None:
        args = self._task.args
        need = there["missing"] + int(args["reserve_bytes"])
        if there["missing"] and there["free"] < need:
            raise AnsibleActionFail(
                f"not enough disk for {args['name']}: found {there['free']} bytes free at {args['staging']}, needed "
                f"{need} ({there['missing']} to send, {args['reserve_bytes']} to spare): free some space on the host"
            )

    def _send(self, source: Path, files: Sequence[push.File], have: Mapping[str, int]) -> int:
        """Bytes sent. Every file is hashed as it is read, and its last piece is not sent unless the hash is right."""
        reader = _Reader(source, have)
        total = sum(file.size - have[file.path] for file in files if file.path in have)
        sent, shown = 0, time.monotonic()
        for batch in push.batches(files, have, int(self._task.args["piece_bytes"])):
            blocks = [reader.read(piece) for piece in batch]
            pieces = [
                piece.to_dict(hashlib.sha256(block).hexdigest()) for piece, block in zip(batch, blocks, strict=True)
            ]
            self._store(pieces, b"".join(blocks))
            sent += sum(piece.length for piece in batch)
            if time.monotonic() - shown >= PROGRESS_SECONDS:
                shown = time.monotonic()
                host = self._vars.get("inventory_hostname")
                Display().display(f"{host}: {self._task.args['name']} {sent * 100 // total} % of {total} bytes")
        return sent

    def _store(self, pieces: list[dict[str, Any]], payload: bytes) -> None:
        for _attempt in range(3):
            answer = self._ask("store", {"pieces": pieces}, payload)
            if "damaged" not in answer:
                return
        raise AnsibleActionFail(f"{answer['damaged']} was damaged on the way three times: check the network")

    def _ask(self, what: str, more: Mapping[str, Any] | None = None, payload: bytes = b"") -> dict[str, Any]:
        """The host's answer; a lost connection is tried again, for every request may be repeated without harm."""
        args = {**self._common, **(more or {}), "do": what}
        python = self._vars.get("ansible_python_interpreter")
        left = int(self._task.args["retries"])
        while True:
            try:
                answer = hostcall.call(
                    self._low_level_execute_command,
                    secrets.token_hex(8),
                    python,
                    self._script,
                    args,
                    payload,
                    seconds=getitimer(ITIMER_REAL)[0],
                    lock=hostcall.held(self._templar.available_variables),
                )
            except AnsibleConnectionFailure:
                if left == 0:
                    raise
                left -= 1
                time.sleep(2.0)
                continue
            if "error" in answer:
                raise AnsibleActionFail(str(answer["error"]), result=hostcall.out_of_time(answer))
            return answer


class _Reader:
    """Reads pieces of the controller's files in order and holds each file to its manifest's hash."""

    def __init__(self, source: Path, have: Mapping[str, int]) -> None:
        self._source, self._have = source, have
        self._path: str | None = None

    def read(self, piece: push.Piece) -> bytes:
        path = self._source / piece.file.path
        with path.open("rb") as stream:
            if self._path != piece.file.path:
                self._path, self._hash = piece.file.path, hashlib.sha256()
                for start in range(0, piece.offset, 1 << 20):
                    self._hash.update(stream.read(min(1 << 20, piece.offset - start)))
            stream.seek(piece.offset)
            block = stream.read(piece.length)
        self._hash.update(block)
        last = piece.offset + piece.length == piece.file.size
        if len(block) != piece.length or (last and self._hash.hexdigest() != piece.file.sha256):
            raise AnsibleActionFail(
                f"{path} on the controller is not what its manifest says: found other content, needed sha256 "
                f"{piece.file.sha256}; run: phi4-edge model verify, then fetch or convert it again"
            )
        return block


def _compare_sizes(name: str, source: Path, files: Sequence[push.File]) -> None:
    for file in files:
        path = source / file.path
        found = path.stat().st_size if path.is_file() else None
        if found != file.size:
            raise AnsibleActionFail(
                f"{name} is damaged on the controller: {path} has {'no file' if found is None else f'{found} bytes'}, "
                f"needed {file.size}; no host was changed. Run: phi4-edge model verify, then fetch or convert it again"
            )
