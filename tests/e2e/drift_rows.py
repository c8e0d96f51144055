"""What the drift tables share: a row, and the look at a host that goes past our own code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from tests.e2e.gateway import Gateway
from tests.e2e.site import Site

ETC, STATE = "/etc/systemd/system", "/var/lib/phi4-edge"
# Path, inode, time of the last change of any kind, mode, owner, size and target of all that is ours, and of Docker's.
LOOK = (
    "find /opt/phi4-edge /var/lib/phi4-edge /etc/systemd/system /etc/ansible /etc/docker/daemon.json ! -type d "
    "-printf '%p\\t%i %C@ %m %U:%G %s %l\\n'"
)
# What each run writes.
RUNS = (f"{STATE}/journal.json", f"{STATE}/lock", f"{STATE}/receipt.json")


@dataclass(frozen=True)
class Row:
    """How a host drifts: a script there, what `status` says of it, whether the repair starts the service anew."""

    name: str
    script: str
    says: tuple[str, ...]
    restarts: bool
    deep: bool = False
    # Patterns of paths whose change is the repair: they are not compared.
    own: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def files(host: Gateway, but: Sequence[str] = ()) -> dict[str, str]:
    """Everything of ours on the host by path, without what each run writes and what one of `but` matches."""
    lines = (line.split("\t", 1) for line in host.sh(f"{LOOK} 2>/dev/null", code=None).splitlines())
    return {path: found for path, found in lines if not any(fnmatch(path, one) for one in (*RUNS, *but))}


def contents(host: Gateway) -> dict[str, str]:
    """Digest, mode and owner of every managed file but the receipt, and where links lead."""
    receipt = host.receipt()
    paths = "\0".join(line["path"] for line in receipt["files"])
    summed = host.sh("xargs -0 sha256sum; ", stdin=paths).splitlines()
    rights = host.sh("xargs -0 stat -c '%n %a %U:%G'", stdin=paths).splitlines()
    links = [host.sh(f"readlink {line['path']}").strip() for line in receipt["links"][:3]]
    return dict(reversed(line.split(maxsplit=1)) for line in summed) | dict.fromkeys((*rights, *links), "")


def serving(host: Gateway) -> str:
    """What names the process that serves: another one was started anew."""
    return host.sh("systemctl show phi4-edge -p InvocationID --value").strip()


def told(site: Site, *words: str, code: int = 0) -> str:
    """What `status` says, on one line; it ended with `code`."""
    return " ".join(site.run("status", *words).expect(code).out.split())


def repaired(site: Site, host: Gateway, rows: Sequence[Row]) -> None:
    """Each row's drift is named by one status and put right by one run; nothing else is touched on the host."""
    own, restarts = tuple(path for row in rows for path in row.own), any(row.restarts for row in rows)
    deep = ("--deep",) if any(row.deep for row in rows) else ()
    before, same, process = contents(host), files(host, own), serving(host)
    for row in rows:
        host.sh(row.script)
    if deep and len(rows) == 1:
        told(site)
    said = told(site, *deep, code=2)
    assert [words for row in rows for words in row.says if words not in said] == [], said
    assert f"phi4-edge provision INVENTORY --limit {host.name}" in said
    done = site.run("provision", "--yes", "--output", "json", *deep).expect(0)
    assert done.outcomes() == {host.name: "done"}
    told(site, *deep)
    assert contents(host) == before
    after = files(host, own)
    touched = {path: (same.get(path), after.get(path)) for path in same | after if same.get(path) != after.get(path)}
    assert not touched, touched
    assert (serving(host) != process) is restarts
    assert host.chat("Say hello.", 4)["usage"]["completion_tokens"] >= 1
