"""Where ssh would go, as Ansible's settings and OpenSSH itself say it; known_hosts files; and what a tunnel runs."""

from __future__ import annotations

import base64
import os
import pwd
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from phi4_edge.errors import UnreachableError
from phi4_edge.inventory import Host, SshSettings
from phi4_edge.ssh import command, known_hosts, stream
from phi4_edge.ssh.command import arguments
from phi4_edge.ssh.finding import Kind
from phi4_edge.ssh.target import GSSAPI, resolve

BLOB = b"\x00\x00\x00\x0bssh-ed25519" + b"k" * 36
OTHER = b"\x00\x00\x00\x0bssh-ed25519" + b"o" * 36
KEY = base64.b64encode(BLOB).decode()


def test_the_arguments_are_in_the_order_of_ansible_s_plugin() -> None:
    ssh = SshSettings(
        private_key_file="~/k",
        common_args="-o C=1 '-o D=2 3'",
        extra_args="-4",
        ssh_args="-o A=1",
        host_key_checking=False,
        timeout=7,
        jump="hop",
    )
    assert arguments(Host("gw1", "192.0.2.1", 2222, "edge", ssh=ssh)) == [
        *("-o", "ProxyJump=hop", "-o", "A=1", "-o", "StrictHostKeyChecking=no", "-o", "Port=2222"),
        *("-o", f'IdentityFile="{Path("~/k").expanduser()}"', "-o", 'User="edge"', "-o", "ConnectTimeout=7"),
        *("-o", "C=1", "-o D=2 3", "-4"),
    ]


def test_what_nobody_says_is_as_ssh_has_it() -> None:
    target = resolve(Host("gw1", "192.0.2.1", user="edge", ssh=SshSettings(ssh_args="-F none")))
    assert (target.address, target.port, target.user, target.indirect) == ("192.0.2.1", 22, "edge", "")
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert target.key_files == tuple(home / ".ssh" / f"id_{kind}" for kind in ("rsa", "ecdsa", "ed25519"))
    assert target.known_hosts[0] == home / ".ssh" / "known_hosts"
    assert target.known_hosts[2] == Path("/etc/ssh/ssh_known_hosts")
    assert (target.strict, target.connect_seconds, target.only_ssh) == ("ask", 10.0, {})
    system = resolve(Host("gw1", "192.0.2.1")).only_ssh.get("auth_refused", GSSAPI)
    assert system.startswith(GSSAPI)  # which Debian switches on for all


CONFIG = """Host gw1
  HostName 192.0.2.9
  Port 2222
  User alice
  IdentityFile ~/.ssh/a
Match host 192.0.2.9
  UserKnownHostsFile "/my known/%n-%p" /k2
Host *
  Port 99
  IdentityFile /b/%h
  GlobalKnownHostsFile none
"""


def configured(folder: Path, text: str = CONFIG) -> str:
    path = folder / "ssh_config"
    path.write_text(text)
    return f"-F {path}"


def test_ansible_s_settings_count_before_the_ssh_configuration(tmp_path: Path) -> None:
    file = configured(tmp_path)
    target = resolve(Host("gw1", "gw1", ssh=SshSettings(ssh_args=file)))
    assert (target.address, target.port, target.user) == ("192.0.2.9", 2222, "alice")
    assert [path.name for path in target.key_files] == ["a", "192.0.2.9"]
    assert target.known_hosts == (Path("/my known/gw1-2222"), Path("/k2"))
    stated = Host("gw1", "gw1", 5, "bob", ssh=SshSettings("/inv", common_args=f"{file} -o HostName=h.invalid"))
    target = resolve(stated)
    assert (target.address, target.port, target.user) == ("h.invalid", 5, "bob")
    assert target.key_files[0] == Path("/inv")


@pytest.mark.parametrize("place", ["ssh_args", "common_args", "extra_args"])
def test_a_configuration_file_counts_wherever_it_is_named(tmp_path: Path, place: str) -> None:
    target = resolve(Host("gw1", "gw1", ssh=SshSettings(**{place: configured(tmp_path)})))  # type: ignore[arg-type]
    assert (target.address, target.user) == ("192.0.2.9", "alice")


def test_of_two_values_the_first_counts_as_in_ssh() -> None:
    ssh = SshSettings(ssh_args="-F none -o Port=1 -l first", common_args="-o Port=3 -o User=third")
    target = resolve(Host("gw1", "192.0.2.1", 2, "second", ssh=ssh))
    assert (target.port, target.user) == (1, "first")


@pytest.mark.parametrize(
    "ssh",
    [
        SshSettings(common_args="-J bastion"),
        SshSettings(extra_args="-o ProxyJump=bastion"),
        SshSettings(ssh_args="-o ProxyCommand='nc %h %p'"),
        SshSettings(jump="me@bastion:2222"),
        SshSettings(executable="/opt/bin/tsh"),
        SshSettings(pkcs11_provider="/lib/opensc-pkcs11.so"),
        SshSettings(private_key="-----BEGIN OPENSSH PRIVATE KEY-----"),
    ],
    ids=["-J", "ProxyJump", "ProxyCommand", "--jump", "another program", "token", "key in a variable"],
)
def test_an_indirect_way_is_named(tmp_path: Path, ssh: SshSettings) -> None:
    program = tmp_path / "tsh"
    program.write_text('#!/bin/sh\nexec ssh "$@"\n')
    program.chmod(0o755)
    ssh = replace(ssh, executable=str(program)) if "tsh" in ssh.executable else ssh
    assert resolve(Host("a", "192.0.2.1", ssh=ssh)).indirect
    assert "BEGIN" not in resolve(Host("a", "192.0.2.1", ssh=ssh)).indirect


@pytest.mark.parametrize(
    ("ssh", "used"),
    [
        (SshSettings(ssh_args="-o ControlPersist=60s -o ControlPath={socket}"), True),
        (SshSettings(common_args="-o ControlPath={socket}"), True),
        (SshSettings(ssh_args="-F {config}"), True),  # no ControlPersist: nothing takes its place
        (SshSettings(control_path="{socket}"), True),
        (SshSettings(common_args="-F {config}"), False),  # the run's own arguments bring a socket of their own
        (SshSettings(control_path="%(directory)s/%%C"), False),
    ],
)
def test_a_shared_connection_that_is_open_is_a_way(
    tmp_path: Path, ssh: SshSettings, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    config = tmp_path / "config"
    config.write_text("Host *\n  ControlPath mux-%p\n")
    placed = {
        name: getattr(ssh, name).format(socket="mux-%p", config=config)
        for name in ("ssh_args", "common_args", "control_path")
    }
    host = Host("a", "192.0.2.1", 2222, ssh=replace(ssh, **placed))
    assert resolve(host).indirect == ""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("mux-2222")
        server.listen()
        assert ("shared connection" in resolve(host).indirect) is used
    assert resolve(host).indirect == ""  # what a connection left behind


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ("GSSAPIAuthentication=yes", "auth_refused"),
        ("IdentityAgent=/run/agent", "auth_refused"),
        ("CertificateFile=/keys/cert.pub", "auth_refused"),
        ("PKCS11Provider=/lib/opensc-pkcs11.so", "auth_refused"),
        ("KnownHostsCommand='/bin/false %H'", "host_key_unknown"),
        ("VerifyHostKeyDNS=yes", "host_key_unknown"),
        ("BindAddress=192.0.2.7", "unreachable"),
    ],
)
def test_what_only_ssh_can_do_is_known(option: str, kind: Kind) -> None:
    target = resolve(Host("a", "192.0.2.1", ssh=SshSettings(ssh_args=f"-F none -o {option}")))
    assert target.only_ssh[kind].startswith(option.partition("=")[0].lower())


@pytest.mark.parametrize("arguments", ["-o 'x", "-F {bad}", "-F {bad}-not-there", "-o Port=none"])
def test_settings_that_cannot_be_read_are_a_value_error(tmp_path: Path, arguments: str) -> None:
    bad = tmp_path / "bad"
    bad.write_text("Host 'x\n")
    with pytest.raises(ValueError, match=r"bad|quotation|Bad"):
        resolve(Host("a", ssh=SshSettings(common_args=arguments.format(bad=bad))))


def test_ssh_that_does_not_come_to_an_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ASK_SECONDS", 0.5)
    file = configured(tmp_path, 'Match exec "sleep 60"\n  Port 9\n')
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"longer than 0\.5 s"):
        resolve(Host("a", "192.0.2.1", ssh=SshSettings(ssh_args=file)))
    assert time.monotonic() - start < 30


def test_no_known_hosts_file_can_be_wished_for() -> None:
    args = "-o UserKnownHostsFile=none -o GlobalKnownHostsFile=none"
    assert resolve(Host("a", ssh=SshSettings(common_args=args))).known_hosts == ()


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
    words = stream.ssh_command(Host("gw1", "192.0.2.1", 2222, "edge", ssh=ssh), "0.0.0.0", 8080, "mark")
    assert words[0] == "ssh"
    assert words[-6:-1] == ["-o", "UserKnownHostsFile=/my known", "-4", "--", "192.0.2.1"]
    assert words[-1].startswith("sh -c ")
    assert words[-1].rstrip("'").endswith(" mark 127.0.0.1 8080")
    assert {"Port=2222", 'User="edge"', 'IdentityFile="/k"', "BatchMode=yes"} <= set(words)
    named = stream.ssh_command(Host("a", ssh=SshSettings(python="/opt/python")), "::", 8080, "mark")[-1]
    assert named.startswith("/opt/python -IBc ")
    assert named.endswith(" mark ::1 8080")


@pytest.mark.parametrize("host", [Host("a", connection="docker"), Host("a", ssh=SshSettings(password="c4nary"))])
def test_no_tunnel_without_ssh_and_keys(host: Host) -> None:
    with pytest.raises(UnreachableError, match="needed") as error:
        stream.ssh_command(host, "127.0.0.1", 8080, "mark")
    assert "c4nary" not in str(error.value)
