"""Checks of the way in: SSH, sudo, Python, and what the login shell costs each command."""

from __future__ import annotations

import re
from collections.abc import Iterator

from phi4_edge.core import broken_python
from phi4_edge.core.doctor.case import Case, Finding, least, milliseconds
from phi4_edge.core.facts.model import OperatingSystem
from phi4_edge.core.judge.condition import Level
from phi4_edge.core.packages import commands
from phi4_edge.core.text import clean

# A heavy .bashrc was measured to cost 170 ms; a fifth of that is a distribution's own.
SLOW_SHELL, SLOW_TRIP = 0.05, 0.5
# A name server that does not answer makes sudo wait five seconds; a loaded board takes some tenths by itself.
SLOW_SUDO = 1.0
# Sources of the script that any Linux host answers; the checks of the others say themselves what silence means.
ESSENTIAL = ("dpkg_locks", "sudoers", "listeners")
# Of the probe, likewise.
PROBED = ("mount_points", "filesystem_errors", "cgroup_controllers", "package_state")
# The check that a refusal of preflight belongs to, by its kind.
REFUSALS = {
    "unreachable": "ssh",
    "auth_refused": "authentication",
    "turned_away": "ssh",
    "host_key_unknown": "host key",
    "host_key_changed": "host key",
    "asks": "ssh",
    "no_shell": "ssh",
    "no_sudo": "sudo",
    "no_python": "python",
}
_RESOLVING = re.compile(r"name or service not known|temporary failure in name|no address associated", re.IGNORECASE)
_QUIET = "case $- in *i*) ;; *) return ;; esac"
# The first file of each shell that it reads for a command, and the line that ends it there.
_SHELLS = {
    "bash": (".bashrc", _QUIET),
    "zsh": (".zshenv", "[[ -o interactive ]] || return"),
    "fish": (".config/fish/config.fish", "status is-interactive; or exit"),
    "tcsh": (".tcshrc", "if (! $?prompt) exit"),
    "csh": (".cshrc", "if (! $?prompt) exit"),
}


def refusal(host: str, kind: str, reason: str, next_step: str, system: str = "", user: str = "") -> Finding:
    """Return the finding for a host that preflight refused.

    `reason` is "found …, needed …"; `system` are ID and ID_LIKE of the host's os-release where we got that far.
    """
    before, _, needed = clean(reason, 900).removeprefix("found ").partition(", needed ")
    words = system.split()
    distribution = OperatingSystem(words[0] if words else "", "", "", tuple(words[1:]))
    fix = clean(next_step, 900)
    if kind == "no_python" and words and fix == broken_python.INSTALL:
        fix = f"{commands.install(distribution, 'python3')}; or set ansible_python_interpreter to where one is"
    elif kind == "no_sudo":
        fix = _sudo_fix(before, user, distribution if words else None) or fix
    elif kind == "unreachable" and _RESOLVING.search(before):
        fix = "correct ansible_host in the inventory, or give the name an address in DNS or /etc/hosts of this machine"
    return Finding(host, REFUSALS.get(kind, "ssh"), Level.PROBLEM, before, needed, fix)


def _sudo_fix(found: str, user: str, system: OperatingSystem | None) -> str:
    who = user or "USER"
    file = f"/etc/sudoers.d/{re.sub(r'[^A-Za-z0-9_-]', '_', who)}"
    if re.search(r"must have a tty|requiretty|no tty present", found, re.IGNORECASE):
        line = f"Defaults:{who} !requiretty"
        return f"as root on it: echo '{line}' > {file}-tty && chmod 440 {file}-tty && visudo -c"
    if re.search(r"not found|no such file", found, re.IGNORECASE):
        packages = commands.install(system, "sudo") if system is not None else "install sudo"
        return f"as root on it: {packages.replace('sudo ', '', 2)}, then allow it for {who} with visudo"
    if re.search(r"password is required|incorrect password|sorry, try again", found, re.IGNORECASE):
        line = f"{who} ALL=(ALL) NOPASSWD: ALL"
        return (
            f"give the password with --ask-become-pass; or as root on it: echo '{line}' > {file} && chmod 440 {file} "
            "&& visudo -c"
        )
    return ""


def python(case: Case) -> Iterator[Finding]:
    """Whether the Python that runs our scripts is the system's own."""
    found = case.facts.python if case.facts is not None else None
    if found is not None and found.path and not found.path.startswith(("/usr/", "/bin/", "/opt/")):
        yield case.warning(
            "python", f"Python {found.version} at {found.path} runs what is sent as root",
            "one that only root can change: whoever can write there becomes root",
            "set ansible_python_interpreter=/usr/bin/python3 in the inventory",
        )  # fmt: skip


def scripts(case: Case) -> Iterator[Finding]:
    """Whether both scripts of the doctor gave an answer; what they did not see is not known to be well."""
    for name, check in (("login", "ssh"), ("root", "sudo")):
        error = clean(case.part(name).get("error"), 300)
        if error:
            yield case.problem(check, error, "an answer of a script that looks at the host", _SEE_SHELL)
    asked = [*((case.root, name) for name in ESSENTIAL), *((case.probe, name) for name in PROBED)]
    for part, name in asked:
        gap = part.gap(name)
        if gap in ("timeout", "failed", "nonsense"):
            said = part.detail(name)
            found = f"{name.replace('_', ' ')} could not be checked ({gap}{f': {said}' if said else ''})"
            yield case.note(
                "scripts", found, "an answer", f"look there: ssh {case.host}; a disk that hangs shows in dmesg"
            )
    if case.root.text("uid") not in ("", "0"):
        yield case.warning(
            "sudo", "the host was checked without root rights", "root: otherwise locks and sudo's rules cannot be seen",
            "set ansible_become=true in the inventory",
        )  # fmt: skip


_SEE_SHELL = "see what the login shell of this user prints and runs: ssh HOST true"


def login_shell(case: Case) -> Iterator[Finding]:
    """What the login shell adds to each command, and what it prints into the answers."""
    login = case.part("login")
    shell, fix = clean(login.get("shell"), 100) or "/bin/sh", _shell_fix(case)
    cost = shell_cost(case)
    if cost is not None and cost >= SLOW_SHELL:
        trip = least(case.host_document.get("trips"))
        whole = f" (of {milliseconds(trip)} for a command that does nothing)" if trip is not None else ""
        yield case.warning(
            "login shell", f"{shell} adds {milliseconds(cost)} to every task{whole}",
            f"less than {milliseconds(SLOW_SHELL)}", fix,
        )  # fmt: skip
    noise = clean(case.host_document.get("noise"), 120)
    if noise:
        yield case.warning(
            "login shell", f"{shell} prints what nothing asked for: {noise}",
            "no output: it mixes with the answers of commands, and breaks scp and sftp", fix,
        )  # fmt: skip
    if login.get("status") not in (0, None):
        yield case.warning("login shell", f"{shell} ends with an error although the command did not", "status 0", fix)


def shell_cost(case: Case) -> float | None:
    """Return the seconds that the login shell adds to a command, both measured on the host; None: not measured."""
    with_shell, without = least(case.part("login").get("with_shell")), least(case.part("login").get("without"))
    return None if with_shell is None or without is None else max(0.0, with_shell - without)


def _shell_fix(case: Case) -> str:
    login = case.part("login")
    kind = clean(login.get("shell"), 100).rpartition("/")[2]
    named = login.get("start_files")
    there = [clean(path, 200) for path in named[:20]] if isinstance(named, list) else []
    usual, line = _SHELLS.get(kind, ("", ""))
    file = next((path for path in there if usual and path.endswith(usual)), there[0] if there else "")
    if not line:
        return (
            f"see what it reads: ssh {case.host} 'set -x; true'; or give this user another shell: sudo chsh -s /bin/sh"
        )
    where = f" of {file}" if file else ""
    return f"make this the first line{where}: {line}"


def connection(case: Case) -> Iterator[Finding]:
    """How long the way takes when the login shell is not counted, and what sudo adds."""
    trip, cost = least(case.host_document.get("trips")), shell_cost(case) or 0.0
    if trip is not None and trip - cost >= SLOW_TRIP:
        yield case.note(
            "connection", f"a command that does nothing takes {milliseconds(trip - cost)} without the login shell",
            f"less than {milliseconds(SLOW_TRIP)}: a slow connection or a busy host; each task waits for it",
            f"ping {case.host}; uptime on it; UseDNS no in /etc/ssh/sshd_config",
        )  # fmt: skip
    sudo = least(case.host_document.get("sudo_trips"))
    if trip is not None and sudo is not None and sudo - trip >= SLOW_SUDO:
        yield case.warning(
            "sudo", f"sudo adds {milliseconds(sudo - trip)} to every task", f"less than {milliseconds(SLOW_SUDO)}",
            "see what it waits for: time sudo -n true; often the host's own name (/etc/hosts), LDAP or a PAM module",
        )  # fmt: skip
    for line in case.root.lines("sudoers", 5):
        file, _, rule = line.partition(" ")
        yield case.note(
            "sudo", f"{file} has '{rule}'", "no requiretty for the user of the connection: Ansible has no terminal",
            f"sudo visudo -f {file}",
        )  # fmt: skip
