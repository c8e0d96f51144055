"""What helps against the words of Ansible, ssh and sshd, as these programs print them."""

from __future__ import annotations

import pytest

from phi4_edge.core.remedies import CLOSED, CROWD, PENALTY, SILENT, remedy


def become(name: str) -> str:
    return (
        f"Task failed: Invalid become method specified, could not find matching plugin: '{name}'. Use `ansible-doc -t "
        "become -l` to list available plugins."
    )


@pytest.mark.parametrize(
    ("name", "collection"),
    [
        ("doas", "community.general"),
        ("pbrun", "community.general"),
        ("dzdo", "community.general"),
        ("machinectl", "community.general"),
        ("community.general.run0", "community.general"),
        ("enable", "ansible.netcommon"),
        ("acme.rights.key", "acme.rights"),
    ],
)
def test_a_become_plugin_that_is_not_installed(name: str, collection: str) -> None:
    step = remedy(become(name))
    assert f"ansible-galaxy collection install {collection}; " in step
    assert "the controller" in step
    assert "ansible_become_method" in step


@pytest.mark.parametrize("name", ["sudoo", "ansible.builtin.dosa", "root"])
def test_a_become_method_that_nobody_has_is_to_be_corrected(name: str) -> None:
    assert remedy(become(name)) == "correct ansible_become_method: ansible-doc -t become -l lists what is here"


@pytest.mark.parametrize(
    ("name", "collection"),
    [
        ("docker", "community.docker"),
        ("containers.podman.podman", "containers.podman"),
        ("lxd", "community.general"),
        ("kubectl", "kubernetes.core"),
    ],
)
def test_a_connection_plugin_that_is_not_installed(name: str, collection: str) -> None:
    step = remedy(f"Task failed: the connection plugin '{name}' was not found")
    assert f"ansible-galaxy collection install {collection}; " in step
    assert "ansible_connection" in step


# What ssh says, which Ansible repeats.
WORDS = {
    "OpenSSH 9.8 and newer": ("debug1: kex_exchange_identification: banner line 0: Not allowed at this time", PENALTY),
    "OpenSSH 8.5 to 9.7": ("debug1: kex_exchange_identification: banner line 0: Exceeded MaxStartups", CROWD),
    "closed": (
        "Task failed: Failed to connect to the host via ssh: kex_exchange_identification: Connection closed by remote "
        "host\r\nConnection closed by 192.0.2.7 port 22", SILENT,
    ),
    "reset": (
        "Failed to connect to the host via ssh: kex_exchange_identification: read: Connection reset by peer\r\n"
        "Connection reset by 192.0.2.7 port 22", SILENT,
    ),
    "tcp wrappers, an older ssh": ("ssh_exchange_identification: Connection closed by remote host", SILENT),
    "an older ssh, reset": ("ssh_exchange_identification: read: Connection reset by peer", SILENT),
    "fail2ban that rejects": ("ssh: connect to host 192.0.2.7 port 22: Connection refused", CLOSED),
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_a_host_that_turns_this_address_away(name: str) -> None:
    said, step = WORDS[name]
    assert remedy(said) == step


def test_too_many_keys_are_told_as_that() -> None:
    step = remedy("Received disconnect from 192.0.2.7 port 22:2: Too many authentication failures")
    assert "IdentitiesOnly=yes" in step
    assert "MaxAuthTries" in step


def test_an_ssh_that_says_nothing_may_have_been_turned_away() -> None:
    step = remedy("Task failed: Failed to connect to the host via ssh:")
    assert step.startswith("see what ssh itself says")
    assert "PerSourcePenalties" in step


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Missing sudo password",
        "Failed to connect to the host via ssh: gw@192.0.2.7: Permission denied (publickey).",
        "Failed to connect to the host via ssh: ssh: connect to host 192.0.2.7 port 22: No route to host",
        "Shared connection to 192.0.2.7 closed.",
    ],
)
def test_other_words_have_no_remedy_of_ours(said: str) -> None:
    assert remedy(said) == ""
