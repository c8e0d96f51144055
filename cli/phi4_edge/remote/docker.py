"""Installs packages of a verified vendor on a host, and holds Docker to the floors below which it must not be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.packages import docker, openpgp
from phi4_edge.errors import Phi4EdgeError, PreflightError

KEYRINGS, SOURCES = "/etc/apt/keyrings", "/etc/apt/sources.list.d"
NAMES = ("docker-ce", "docker-compose-plugin", "docker-compose", "docker-compose-v2", *docker.CONFLICTING)
# What runs afterwards, by its name in cve_floors.yml.
FLOORS = {"docker": "engine", "runc": "runc"}
# One operation of role docker's packages.py: (what, arguments) → its answer.
Ask = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Packages:
    """Packages of one host. `floors`: data/cve_floors.yml; `accepted`: components that may be below theirs.

    `fetched`: the bytes at an address, or of a file on the controller. `check`: nothing is changed.
    """

    ask: Ask
    floors: Mapping[str, Any]
    accepted: Sequence[str]
    fetched: Callable[[str], bytes]
    check: bool

    def inspect(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """What it takes that Docker is there: `install` by package, its `repository`, and the `reason` why."""
        found = self.ask("inspect", {"names": list(NAMES)})
        pins = docker.Pins(**args["pins"])
        wanted = docker.decide(found, args["source"], pins, self.floors, self.accepted)
        vendor = wanted.packages and args["source"] == "docker"
        repository = docker.repository(found, args["url"]) if vendor else {}
        return {"changed": False, "install": wanted.packages, "reason": wanted.reason, "repository": repository}

    def install(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The packages are installed, from the vendor's repository where one is given."""
        found = self.ask("inspect", {"names": [*args["packages"], *args["remove"]]})
        here = found["packages"]
        if docker.installed(here, args["packages"]) and not set(args["remove"]) & set(here):
            return {"changed": False, "changes": []}
        changes = self._repository(args)
        if self.check and changes:
            return {"changed": True, "changes": changes, "would_install": args["packages"]}
        wish = {"packages": list(args["packages"]), "update": not self.check, "lock_seconds": args["lock_seconds"]}
        offer = self.ask("offered", wish)
        if self.check:
            return {"changed": True, "changes": [], "would_install": args["packages"]}
        exact = self._chosen(offer, args)
        done = self.ask("install", {**wish, "packages": exact, "remove": args["remove"]})
        return {"changed": done["changed"], "changes": [*changes, *done["changes"]]}

    def _repository(self, args: Mapping[str, Any]) -> list[str]:
        """Key and source are on the host, after the key was compared with its fingerprint here; what changed there."""
        repository = args["repository"]
        if not repository:
            return []
        key_url = args["key_url"] or repository["key_url"]
        key = self.fetched(key_url)
        openpgp.require(key, args["fingerprint"], key_url)
        if key[0] & 0x80:  # what apt is told is armoured must be so
            raise PreflightError(f"found a binary key at {key_url}, needed an armoured one (gpg --enarmor)")
        name = f"phi4-edge-{repository['name']}"
        key_path = f"{KEYRINGS}/{name}.asc"
        wish = {
            "key_path": key_path, "key": key.decode("ascii"), "check": self.check, "replaces": args["replaces"],
            "sources": docker.sources(repository, key_path), "sources_path": f"{SOURCES}/{name}.sources",
        }  # fmt: skip
        return list(self.ask("repository", wish)["changes"])

    def _chosen(self, offer: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, str]:
        """The full version of each package. Raises PreflightError where there is none or it is below its floor."""
        exact: dict[str, str] = {}
        for name, wanted in args["packages"].items():
            try:
                exact[name] = docker.pick(name, offer["offered"].get(name, []), wanted)
            except Phi4EdgeError as error:
                raise type(error)(f"{error}. {offer['said']}".strip()) from None
            problem = self._below(args["components"].get(name, ""), docker.upstream(exact[name]))
            if problem:
                raise PreflightError(f"package {name}: {problem}. Nothing was installed")
        return exact

    def prove(self, ran: Mapping[str, Any]) -> None:
        """Raises PreflightError where what runs now is below its floor. `ran`: the answer of engine.py."""
        for component, key in FLOORS.items():
            problem = self._below(component, str(ran.get(key, "")))
            if problem:
                raise PreflightError(problem)

    def _below(self, component: str, version: str) -> str:
        return docker.below(self.floors, component, version, self.accepted)
