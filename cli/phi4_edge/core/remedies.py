"""What helps against what ssh, sshd and Ansible say, where their words do not say it themselves. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from phi4_edge.core.text import clean

# Collections that have what ansible-core once had itself, or is known by a short name: ansible-core's own redirections.
_BECOME = {
    **dict.fromkeys(("doas", "dzdo", "ksu", "machinectl", "pbrun", "pfexec", "pmrun", "run0", "sesu", "sudosu"),
                    "community.general"),
    "enable": "ansible.netcommon",
}  # fmt: skip
_CONNECTION = {
    **dict.fromkeys(("chroot", "funcd", "iocage", "jail", "lxc", "lxd", "qubes", "saltstack", "zone"),
                    "community.general"),
    "docker": "community.docker", "podman": "containers.podman", "buildah": "containers.podman",
    "kubectl": "kubernetes.core", "oc": "community.okd", "libvirt_lxc": "community.libvirt",
    "aws_ssm": "community.aws",
}  # fmt: skip

# sshd of OpenSSH 9.8 says the first of these for whatever it refuses an address for, 8.5 to 9.7 the second.
REFUSING = r"Not allowed at this time|Exceeded MaxStartups"
PENALTY = (
    "wait some minutes, then run again: its sshd keeps this address out for a while after refused logins "
    "(PerSourcePenalties of OpenSSH 9.8, each refusal makes it longer), or while too many wait (MaxStartups). "
    "Correct ansible_user or the key first; journalctl -u ssh there names the reason, and PerSourcePenaltyExemptList "
    "exempts this address"
)
CROWD = (
    "run again, with fewer hosts behind the same address at a time (--forks): more logins were waiting there than "
    "MaxStartups of its sshd_config allows"
)
_ENDING = (
    "sshd ends connections before any greeting for addresses whose logins were refused "
    "(PerSourcePenalties), for too many at a time (MaxStartups), and by hosts.deny or fail2ban. The reason is in its "
    "journalctl -u ssh; fail2ban-client status sshd lists whom fail2ban keeps out"
)
SILENT = f"wait some minutes, then run again: {_ENDING}"
CLOSED = (
    "see that sshd runs there; fail2ban answers like this too, for addresses whose logins were refused: "
    "fail2ban-client status sshd on it"
)


def remedy(said: str) -> str:
    """The next step where Ansible, ssh or sshd says this; "" where it is not known to need one of ours."""
    for shape, step in _STEPS:
        if found := re.search(shape, said, re.IGNORECASE):
            return step(found) if callable(step) else step
    return ""


def _become(found: re.Match[str]) -> str:
    return _collection(found[1], _BECOME, "become", "ansible_become_method")


def _connection(found: re.Match[str]) -> str:
    return _collection(found[1], _CONNECTION, "connection", "ansible_connection")


def _collection(plugin: str, known: dict[str, str], kind: str, variable: str) -> str:
    """Which collection has a plugin; a name in three parts says so itself."""
    name = clean(plugin, 100)
    parts = name.split(".")
    here = ".".join(parts[:2]) if len(parts) == 3 else known.get(name, "")
    lists = f"ansible-doc -t {kind} -l lists what is here"
    if not here or here in ("ansible.builtin", "ansible.legacy"):
        return f"correct {variable}: {lists}"
    return (
        f"install the collection that has it on this machine, the controller: ansible-galaxy collection install "
        f"{here}; or set another {variable} ({lists})"
    )


_STEPS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"could not find matching plugin: '([\w.]+)'", _become),
    (r"the connection plugin '([\w.]+)' was not found", _connection),
    (r"Exceeded MaxStartups", CROWD),
    (REFUSING, PENALTY),
    (r"(?:kex|ssh)_exchange_identification: [^\n]*(?:closed by remote host|reset by peer)", SILENT),
    (r"Too many authentication failures",
     "name one key with ansible_ssh_private_key_file, and add -o IdentitiesOnly=yes to ansible_ssh_common_args: more "
     "keys are offered than MaxAuthTries of its sshd_config allows"),
    (r"connect to host \S+ port \d+: Connection refused", CLOSED),
    # ansible-core runs ssh without its words about a connection that ended before the login.
    (r"Failed to connect to the host via ssh:?\s*$", f"see what ssh itself says (ssh -v to it); {_ENDING}"),
)  # fmt: skip
