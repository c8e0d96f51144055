"""What CLI tests share: the program in this process, and facts documents made to measure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from phi4_edge.main import cli

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs the program as a pipe would see it, 100 columns wide, with an empty artifact store."""
    monkeypatch.setenv("PHI4_EDGE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "100")

    def run(*args: object, **kwargs: Any) -> Result:
        return CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="phi4-edge", **kwargs)

    return run


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Two gateways that nobody answers for."""
    path = tmp_path / "hosts.ini"
    path.write_text("[gateways]\ngw1 ansible_host=192.0.2.1\ngw2 ansible_host=192.0.2.2\n")
    return path


def _facts(host: str = "gw1", ram_gib: float = 7.6, disk_gb: float = 58, **sources: str) -> dict[str, Any]:
    """The raw document of an x86-64 gateway with four cores; `sources` replaces the text of some."""
    disk = int(disk_gb * 1e9)
    texts = {
        "python": "3.13.5 /usr/bin/python3",
        "uname": "Linux 6.12.0 x86_64",
        "libc": "glibc 2.41",
        "os_release": 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
        "meminfo": f"MemTotal: {int(ram_gib * 1024**2)} kB\nMemAvailable: {int(ram_gib * 0.9 * 1024**2)} kB\n",
        "cpuinfo": "".join(f"processor : {n}\nmodel name : Test\nflags : sse4_2 avx2 fma f16c\n\n" for n in range(4)),
        "cpu_affinity": "0-3",
        "cpu_topology": "0 0 0\n1 1 0\n2 2 0\n3 3 0\n",
        "cgroup": "v2\nmemory / max\ncpu / max 100000\n",
        "disk": "".join(
            f"{path} 64000000000 {disk} 1\n"
            for path in ("/opt/phi4-edge", "/var/lib/phi4-edge", "/var/lib/docker", "/etc")
        ),
        "our_disk": "/opt/phi4-edge 0\n/var/lib/phi4-edge 0\n",
        "pci": "",
        "modules": "",
        "init": "systemd running",
        "systemd": "systemd 257 (257.8)",
        "uid": "0",
        "hostname": host,
        "listening": "127.0.0.1 22\n",
        "service": "LoadState=not-found\nActiveState=inactive\nUnitFileState=\nNRestarts=0\nMainPID=0\n",
        "receipt": '{"present": false}',
    }
    return {
        "format": "phi4-edge/facts/1",
        "host": host,
        "sources": {name: {"text": text} for name, text in {**texts, **sources}.items()},
    }


@pytest.fixture
def facts_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes the facts of one host to a file of its name."""

    def write(host: str = "gw1", **changes: Any) -> Path:
        path = tmp_path / f"{host}.json"
        path.write_text(json.dumps(_facts(host, **changes)))
        return path

    return write


@pytest.fixture
def facts() -> Callable[..., dict[str, Any]]:
    """Makes the facts of one host."""
    return _facts
