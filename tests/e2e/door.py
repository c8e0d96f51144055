"""One host with a gateway, as its operator and as its clients see it."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi4_edge import lab as lab_room
from tests.e2e import openai_client
from tests.e2e.gateway import Cli, Done, Gateway

PORT = 8443


@dataclass
class Door:
    """One host with a gateway, as its operator and as its clients see it."""

    cli: Cli
    lab: lab_room.Lab
    folder: Path
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> Gateway:
        return Gateway(self.lab, self.lab.hosts[0].name)

    @property
    def inventories(self) -> list[Path]:
        return [self.lab.inventory, self.folder / "vars.ini"]

    @property
    def address(self) -> str:
        return str(self.lab.hosts[0].address)

    @property
    def ca(self) -> Path:
        return self.cli.home / "config" / "ca.pem"

    def write(self, **wanted: object) -> None:
        lines = ["[gateways:vars]", *(f"{name}={value}" for name, value in wanted.items())]
        (self.folder / "vars.ini").write_text("\n".join(lines) + "\n")

    def run(self, command: str, *words: str) -> Done:
        return self.cli.run(command, *self.inventories, *words)

    def provision(self) -> Done:
        return self.run("provision", "--yes", "--output", "json")

    def add(self, name: str, *words: str) -> str:
        done = self.cli.run("key", "add", self.inventories[0], name, *words, *self.where).expect(0)
        self.keys[name] = done.out.strip()
        return self.keys[name]

    @property
    def where(self) -> list[str]:
        return ["--keys", str(self.folder / "keys.txt")]

    def ask(self, key: str) -> dict[str, Any]:
        """What openai's own client gets for a chat, streamed."""
        return openai_client.ask(self.address, PORT, self.ca, key)

    def get(self, path: str, key: str = "", method: str = "GET") -> int:
        context = ssl.create_default_context(cafile=self.ca)
        connection = http.client.HTTPSConnection(self.address, PORT, timeout=20, context=context)
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {key}"} if key else {})
            return connection.getresponse().status
        finally:
            connection.close()

    def engine(self, user: str) -> str:
        """What a user of the host gets for the engine's own port: a status of HTTP, 000 where it is refused."""
        script = f"setpriv --reuid {user} --clear-groups curl -s -o /dev/null -w '%{{http_code}}' 127.0.0.1:8080/health"
        return self.host.sh(script, None).strip()

    def processes(self) -> str:
        return self.host.sh("systemctl show phi4-edge phi4-edge-gateway -p MainPID,InvocationID")
