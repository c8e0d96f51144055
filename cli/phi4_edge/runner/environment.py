"""The environment of a run: what Ansible may see of the operator's own, and what makes runs safe."""

from __future__ import annotations

import configparser
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from phi4_edge import content
from phi4_edge.environment import Need, allowed

# Stands for the run's private directory, which exists only while it runs.
PRIVATE = "{private}"

# It would change what our own run does.
_FOREIGN = frozenset({"ANSIBLE_STDOUT_CALLBACK"})

# Where Ansible looks without a setting: connection and become plugins of an inventory may be in collections there.
_COLLECTIONS = os.pathsep.join(["~/.ansible/collections", "/usr/share/ansible/collections"])

# Connections are shared by the tasks of one run, die with it (its processes are ended, or its guard does that), and
# notice a dead host after a minute. Between two tasks of a host may lie the longest step of another one: a connection
# that ended meanwhile would take the run's lock on the host with it. Models are incompressible: compression would only
# cost CPU on both sides.
SSH_ARGS = (
    "-o ControlMaster=auto -o ControlPersist=2h -o Compression=no -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
)

# ansible-runner's callback drops a result larger than this and says nothing; its default is 700,000 characters. A facts
# document is held twice in its result, and each may be as large as core.framing allows.
MAX_EVENT_RES = 16 * 1024 * 1024


def build_env(
    environ: Mapping[str, str], collections: Path, binaries: Path, cwd: Path, jump: str = ""
) -> dict[str, str]:
    """The complete environment of a run, with PRIVATE where the private directory will be. `environ` is unchanged.

    `binaries` is prepended to the PATH, and `collections` to where Ansible looks for collections, so that another copy
    of ours does not replace it; the operator's ANSIBLE_CONFIG stays theirs. `jump` is the command line's jump host: of
    two ssh takes the first.
    """
    env = scrub(environ)
    env["PATH"] = os.pathsep.join([str(binaries), env.get("PATH", os.defpath)])
    env["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join([str(collections), collections_path(environ, cwd)])
    env.update(
        {
            "ANSIBLE_HOST_KEY_CHECKING": "True",  # ansible-runner turns it off where it is not set
            "ANSIBLE_INJECT_FACT_VARS": "False",  # a fact must not replace a variable of the inventory
            "ANSIBLE_RETRY_FILES_ENABLED": "False",
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_CACHE_PLUGIN": "memory",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCAL_TEMP": f"{PRIVATE}/local",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{PRIVATE}/cp",
            "MAX_EVENT_RES": str(MAX_EVENT_RES),
        }
    )
    # Without a terminal ssh would ask in a window. Who wants that says so.
    env.setdefault("SSH_ASKPASS_REQUIRE", "never")
    said = ssh_args(environ, cwd)
    if said is None or jump:
        jumping = [f"-o ProxyJump={jump}"] if jump else []
        env["ANSIBLE_SSH_ARGS"] = " ".join([*jumping, SSH_ARGS if said is None else said])
    return env


def scrub(environ: Mapping[str, str]) -> dict[str, str]:
    """What Ansible may see of the environment."""
    return {name: value for name, value in allowed(environ, Need.ANSIBLE).items() if name not in _FOREIGN}


def ssh_args(environ: Mapping[str, str], cwd: Path) -> str | None:
    """The operator's ssh_args, of the environment or of the ansible.cfg that Ansible will read in `cwd`; None: not set.

    The inventory's `ansible_ssh_args` wins over both without our help. The file of our own checkout is no operator's:
    it is for plain `ansible-playbook`, which leaves its connections to the next one for a minute.
    """
    if "ANSIBLE_SSH_ARGS" in environ:
        return environ["ANSIBLE_SSH_ARGS"]
    found = _configured(environ, cwd, "ssh_connection", "ssh_args")
    return None if found is None else found[0]


def collections_path(environ: Mapping[str, str], cwd: Path) -> str:
    """Where the operator's Ansible looks for collections: connection plugins of an inventory may be in one."""
    if theirs := environ.get("ANSIBLE_COLLECTIONS_PATH"):
        return theirs
    found = _configured(environ, cwd, "defaults", "collections_path")
    if found is None:
        return _COLLECTIONS
    value, base = found  # relative paths of a configuration file mean its own directory
    return os.pathsep.join(str(base / Path(each).expanduser()) for each in value.split(os.pathsep))


def _configured(environ: Mapping[str, str], cwd: Path, section: str, option: str) -> tuple[str, Path] | None:
    """A setting of the operator's ansible.cfg with the file's directory; None where it is not set, or the file ours."""
    path = config_file(environ, cwd)
    if path is None or path.absolute() == content.root() / "ansible.cfg":
        return None
    parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=(";",))
    try:
        found = parser.get(section, option, fallback=None) if parser.read(path) else None
    except (configparser.Error, UnicodeDecodeError):
        return None  # Ansible itself says what is wrong with the file
    return None if found is None else (found, path.absolute().parent)


def config_file(environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The configuration file that Ansible reads: its own search order, without a file in a world-writable directory."""
    named = environ.get("ANSIBLE_CONFIG")
    if named:
        path = cwd / Path(named).expanduser()
        return path / "ansible.cfg" if path.is_dir() else path
    here = cwd / "ansible.cfg"
    if here.is_file() and not cwd.stat().st_mode & stat.S_IWOTH:
        return here
    home = Path(environ.get("HOME", "~")).expanduser() / ".ansible.cfg"
    return next((path for path in (home, Path("/etc/ansible/ansible.cfg")) if path.is_file()), None)
