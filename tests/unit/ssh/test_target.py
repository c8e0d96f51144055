"""How ssh arguments, configuration files and known_hosts files are read, and what a tunnel runs."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from phi4_edge.errors import UnreachableError
from phi4_edge.inventory import Host, SshSettings
from phi4_edge.ssh import known_hosts, stream
from phi4_edge.ssh.target import options, resolve

BLOB = b"\x00\x00\x00\x0bssh-ed25519" + b"k" * 36
OTHER = b"\x00\x00\x00\x0bssh-ed25519" + b"o" * 36
KEY = base64.b64encode(BLOB).decode()


def test_ssh_arguments_in_every_spelling() -> None:
    text = "-C -o Port=1 -oUser=u -o 'HostName h' -i /k -p 2 -l me -J jump -b 192.0.2.1 -o Port=3"
    assert options(text) == {
        "port": ["1", "2", "3"],
        "user": ["u", "me"],
        "hostname": ["h"],
        "identityfile": ["/k"],
        "proxyjump": ["jump"],
    }


def test_what_nobody_says_is_as_ssh_has_it(tmp_path: Path) -> None:
    target = resolve(Host("gw1", "192.0.2.1", user="edge"), tmp_path, tmp_path / "none")
    assert (target.address, target.port, target.user, target.indirect) == ("192.0.2.1", 22, "edge", "")
    assert target.key_files[-1] == tmp_path / ".ssh" / "id_ed25519"
    assert target.known_hosts[0] == tmp_path / ".ssh" / "known_hosts"
    assert target.known_hosts[2] == Path("/etc/ssh/ssh_known_hosts")


def test_the_inventory_wins_over_the_operator_s_file_and_that_over_the_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(
        "Host gw1\n  HostName 192.0.2.9\n  Port 2222\n  User alice\n  IdentityFile ~/.ssh/a\n"
    )
    system = tmp_path / "ssh_config"
    system.write_text("Host *\n  Port 99\n  UserKnownHostsFile /k1 /k2\n  IdentityFile /b\n")
    target = resolve(Host("gw1", "gw1"), tmp_path, system)
    assert (target.address, target.port, target.user) == ("192.0.2.9", 2222, "alice")
    assert target.key_files == (tmp_path / ".ssh" / "a", Path("/b"))
    assert target.known_hosts[:2] == (Path("/k1"), Path("/k2"))
    stated = Host("gw1", "gw1", 5, "bob", ssh=SshSettings(private_key_file="/inv", common_args="-o HostName=h"))
    target = resolve(stated, tmp_path, system)
    assert (target.address, target.port, target.user, target.key_files[0]) == ("h", 5, "bob", Path("/inv"))


@pytest.mark.parametrize("arguments", ["-J bastion", "-o ProxyJump=bastion", "-o ProxyCommand='nc %h %p'"])
def test_an_indirect_way_is_named(tmp_path: Path, arguments: str) -> None:
    assert resolve(Host("a", ssh=SshSettings(common_args=arguments)), tmp_path, tmp_path / "none").indirect


@pytest.mark.parametrize("arguments", ["-o 'x", "-F {bad}"])
def test_settings_that_cannot_be_read_are_a_value_error(tmp_path: Path, arguments: str) -> None:
    bad = tmp_path / "bad"
    bad.write_text("Host 'x\n")
    with pytest.raises(ValueError, match=r"bad|quotation"):
        resolve(Host("a", ssh=SshSettings(common_args=arguments.format(bad=bad))), tmp_path, tmp_path / "none")


def test_no_known_hosts_file_can_be_wished_for(tmp_path: Path) -> None:
    args = "-o UserKnownHostsFile=none -o GlobalKnownHostsFile=none"
    assert resolve(Host("a", ssh=SshSettings(common_args=args)), tmp_path, tmp_path / "none").known_hosts == ()


@pytest.mark.parametrize(
    ("field", "name", "found"),
    [
        ("gw1", "gw1", True),
        ("gw1,192.0.2.1", "192.0.2.1", True),
        ("GW1", "gw1", True),
        ("gw?", "gw1", True),
        ("*.example,!bad.example", "good.example", True),
        ("*.example,!bad.example", "bad.example", False),
        ("[gw1]:2222", "[gw1]:2222", True),
        ("[gw1]:2222", "gw1", False),
        ("gw", "gw1", False),
        ("gw.1", "gwx1", False),
        ("|1|broken", "gw1", False),
    ],
)
def test_names_in_known_hosts(field: str, name: str, found: bool) -> None:
    assert known_hosts.matches(field, name) is found


def test_hashed_names_as_ssh_keygen_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"[gw1]:2222 ssh-ed25519 {KEY}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(path)], check=True, capture_output=True)
    assert path.read_text().startswith("|1|")
    assert [entry.blob for entry in known_hosts.entries([path], "[gw1]:2222")] == [BLOB]
    assert known_hosts.entries([path], "gw1") == []


def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_bytes(
        f"# gw1 ssh-ed25519 {KEY}\n\ngw1\ngw1 ssh-rsa ***\n\xff\xfe\ngw1 ssh-ed25519 {KEY} me\n".encode("latin-1")
    )
    assert [entry.line for entry in known_hosts.entries([path, tmp_path / "none"], "gw1")] == [6]


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        ([f"gw1 ssh-ed25519 {KEY}"], "known"),
        ([f"gw1 ssh-ed25519 {base64.b64encode(OTHER).decode()}"], "changed"),
        ([f"gw1 ssh-ed25519 {base64.b64encode(OTHER).decode()}", f"gw1 ssh-ed25519 {KEY}"], "known"),
        (["gw1 ssh-rsa QUJD"], "unknown"),
        ([], "unknown"),
        ([f"gw1 ssh-ed25519 {KEY}", f"@revoked * ssh-ed25519 {KEY}"], "changed"),
        (["@cert-authority * ssh-rsa QUJD"], "authority"),
    ],
)
def test_verdicts(tmp_path: Path, lines: list[str], verdict: str) -> None:
    path = tmp_path / "known_hosts"
    path.write_text("\n".join(lines) + "\n")
    assert known_hosts.judge(known_hosts.entries([path], "gw1"), "ssh-ed25519", BLOB) == verdict


def test_under_which_names_a_host_is_looked_up() -> None:
    assert known_hosts.names("GW1", 22, "") == ("gw1",)
    assert known_hosts.names("gw1", 2222, "") == ("[gw1]:2222", "gw1")
    assert known_hosts.names("gw1", 2222, "alias") == ("alias",)


def test_the_tunnel_s_command_is_built_from_the_inventory() -> None:
    ssh = SshSettings(private_key_file="/k", common_args="-o UserKnownHostsFile='/my known'", extra_args="-4")
    command = stream.ssh_command(Host("gw1", "192.0.2.1", 2222, "edge", ssh=ssh), "0.0.0.0", 8080, "mark")
    assert command[0] == "ssh"
    assert command[-6:-1] == ["-o", "UserKnownHostsFile=/my known", "-4", "--", "192.0.2.1"]
    assert command[-1].startswith("sh -c ")
    assert command[-1].rstrip("'").endswith(" mark 127.0.0.1 8080")
    for words in (["-p", "2222"], ["-l", "edge"], ["-i", "/k"], ["-o", "BatchMode=yes"]):
        at = [number for number, word in enumerate(command) if word == words[0]]
        assert any(command[number : number + 2] == words for number in at)
    named = stream.ssh_command(Host("a", ssh=SshSettings(python="/opt/python")), "::", 8080, "mark")[-1]
    assert named.startswith("/opt/python -IBc ")
    assert named.endswith(" mark ::1 8080")


@pytest.mark.parametrize("host", [Host("a", connection="docker"), Host("a", ssh=SshSettings(password="c4nary"))])
def test_no_tunnel_without_ssh_and_keys(host: Host) -> None:
    with pytest.raises(UnreachableError, match="needed") as error:
        stream.ssh_command(host, "127.0.0.1", 8080, "mark")
    assert "c4nary" not in str(error.value)
