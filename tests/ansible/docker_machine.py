"""A stand-in for a host with Docker, as far as its ports go: processes, sockets, Docker's API, systemd."""

from __future__ import annotations

import json
import shutil
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

PROXY, DAEMON = "77", "50"
LOOPBACK, ELSEWHERE, ANY = "0100007F", "0500000A", "00000000"
OURS = {"Names": ["/phi4-edge-webui-1"], "Labels": {"phi4-edge.release": "r-1"}, "Ports": []}
OTHER = {"Names": ["/broker"], "Labels": {}, "Ports": [{"PrivatePort": 1883, "PublicPort": 1883}]}
OWNER = {"Names": ["/site"], "Labels": {}, "Ports": [{"IP": "127.0.0.1", "PublicPort": 8080, "Type": "tcp"}]}
# Notes what it is asked, and answers from files beside it.
SYSTEMCTL = """#!/bin/sh
echo "$*" >> {root}/asked
case "$*" in
  *MainPID*) read -r found < {root}/process; echo "MainPID=$found" ;;
  *RequiredBy*) read -r found < {root}/bound; echo "RequiredBy=phi4-edge.service $found" ;;
  is-active*) echo active ;;
esac
"""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    answers: dict[str, Any]


class Docker(BaseHTTPRequestHandler):
    """Docker's API as far as it is asked; a str is sent as it is."""

    server: Server
    wbufsize = -1  # one write for head and body: who has read all that was announced may go

    def do_GET(self) -> None:
        found = self.server.answers[self.path.partition("?")[0]]
        body = (found if isinstance(found, str) else json.dumps(found)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""


class Machine:
    """A stand-in for a host: its processes, sockets, Docker and systemd."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("proc/1/net", "run", "usr/bin"):
            (root / folder).mkdir(parents=True)
        program = root / "usr/bin/systemctl"
        program.write_text(SYSTEMCTL.format(root=root))
        program.chmod(0o755)
        (root / "process").write_text(DAEMON + "\n")
        (root / "bound").write_text("\n")
        self.listens()
        self.server = Server(str(root / "run/docker.sock"), Docker)
        self.server.answers = {"/containers/json": [], "/info": {"LiveRestoreEnabled": False}}
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def listens(self, *addresses: str, table: str = "tcp") -> None:
        rows = [
            f"   {n}: {address}:1F90 00000000:0000 0A 0:0 00:0 0 0 0 {900 + n} 1" for n, address in enumerate(addresses)
        ]
        (self.root / f"proc/1/net/{table}").write_text("\n".join(["  sl  local_address", *rows]) + "\n")

    def process(self, number: str, name: str, *sockets: int) -> None:
        folder = self.root / "proc" / number
        (folder / "fd").mkdir(parents=True)
        (folder / "comm").write_text(name + "\n")
        for inode in sockets:
            (folder / "fd" / str(inode)).symlink_to(f"socket:[{inode}]")

    def orphan(self) -> None:
        """A docker-proxy holds the port for nobody."""
        self.listens(LOOPBACK)
        self.process(PROXY, "docker-proxy", 900)

    def containers(self, *found: Any) -> None:
        self.server.answers["/containers/json"] = list(found)

    @property
    def restarts(self) -> int:
        path = self.root / "asked"
        return path.read_text().count("--no-block restart docker.service") if path.exists() else 0


@contextmanager
def a_machine() -> Iterator[Machine]:
    """One that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="phi4-port-"))  # a socket's path must be short
    made = Machine(folder)
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        shutil.rmtree(folder)
