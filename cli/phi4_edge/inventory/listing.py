"""Lines of an inventory that Ansible accepts by their letter although no operator means them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from phi4_edge.core.text import printable
from phi4_edge.inventory import sources

_ODD = re.compile(r"[,;='\"{}<>|\\]")


class Listing:
    """Sees what each source says of its hosts while Ansible reads it: the result holds only what counts in the end."""

    def __init__(self, data: Any) -> None:
        """`data` is the InventoryData that every plugin fills."""
        self._data = data
        self._values: dict[tuple[str, str], dict[str, list[Any]]] = {}
        self._ports: dict[str, list[Any]] = {}
        self._first: dict[str, str] = {}
        self._sources: dict[str, None] = {}
        self._add_host, self._set_variable = data.add_host, data.set_variable
        data.add_host, data.set_variable = self._host, self._variable

    @property
    def source(self) -> str:
        """The source that is being read."""
        return str(self._data.current_source or "")

    def _host(self, host: str, group: str | None = None, port: Any = None) -> Any:
        self._sources[self.source] = None
        self._first.setdefault(str(host), self.source)
        self._ports.setdefault(str(host), []).append(port)
        return self._add_host(host, group, port)

    def _variable(self, entity: str, varname: str, value: Any) -> None:
        if entity not in self._data.groups and varname not in ("inventory_file", "inventory_dir"):
            said = self._values.setdefault((self.source, str(entity)), {})
            said.setdefault(str(varname), []).append(value)
        self._set_variable(entity, varname, value)

    def warnings(self, hosts: Iterable[str]) -> Iterator[str]:
        """What the operator should know of the sources and of these hosts."""
        for source in self._sources:
            if sources.is_wide(source):
                yield f"{source} is UTF-16 text, of which Ansible makes odd names: save it as UTF-8"
            elif sources.has_mark(source):
                yield f"{source} {sources.MARK}; until then its first host has another name than you see"
        for host in hosts:
            yield from self._melted(host)
            if not sources.is_wide(self._first.get(host, "")) and (reason := _odd(host)):
                yield f"{self._first.get(host, '')}: found the host name {printable(host)!r} {reason}"

    def _melted(self, host: str) -> Iterator[str]:
        for (source, name), values in self._values.items():
            different = {key: said for key, said in values.items() if any(_differ(one, said[0]) for one in said)}
            if name == host and different:
                times = max(len(said) for said in different.values())
                yield (
                    f"{source}: {printable(host)} is listed {times} times with different {', '.join(different)}; "
                    "the last one counts, so give each machine a name of its own (ansible_host is for its address)"
                )
        first, *others = self._ports.get(host, [None])
        if any(port is not None and port != first for port in others):
            yield (
                f"{self._first[host]}: {printable(host)} is listed {len(others) + 1} times with different ports; "
                "the first one counts, so give each machine a name of its own (ansible_port is for its port)"
            )


def _differ(one: Any, other: Any) -> bool:
    """Whether two values are not the same. One alone is not compared: a vault's value needs its password for that."""
    from ansible.errors import AnsibleError

    try:
        return one is not other and bool(one != other)
    except AnsibleError:
        return True  # without the password: who needs the value is told so when it is evaluated


def _odd(name: str) -> str:
    """Why nobody gave this name to a host, "" where somebody may have."""
    if any(map(str.isspace, name)):
        return "with white space: in YAML each host below hosts: ends with a colon, in INI each has a line of its own"
    if found := _ODD.search(name):
        return f"with {found[0]} in it: a line begins with the name of a host, and its variables follow after a blank"
    if name.startswith("\ufeff") or printable(name) == name:
        return ""
    return "with a character that cannot be seen: type the name anew"
