"""What children may see of the environment: what is named, for each kind of child, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from phi4_edge import inventory
from phi4_edge.artifacts.convert import process
from phi4_edge.core.inventory import Host, VaultSecret
from phi4_edge.environment import KEEP, Need, allowed, narrowed
from phi4_edge.errors import PreflightError
from phi4_edge.runner.environment import scrub
from phi4_edge.runner.workers.inventory import opened
from phi4_edge.runner.workers.link import Link
from phi4_edge.ssh.stream import ProcessStream
from phi4_edge.ssh.wire import Budget

# Names that a deny list has to guess. Each is a secret somewhere.
SECRETS = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "GH_PAT", "DB_PASS", "DATABASE_URL", "SSHPASS"),
    *("DOCKER_AUTH_CONFIG", "OPENAI_API_KEY", "PGPASSFILE_CONTENT", "SMTP_LOGIN", "MY_JWT", "VAULT_ADDR_AND_ALL"),
    *(
        "NPM_AUTH",
        "KUBE_CONFIG_DATA",
        "SSH_PASSWORD",
        "SSH_PRIVATE_KEY",
        "DOCKER_PASS",
        "XDG_SECRET",
        "LANG_KEY",
        "PYTHONSTARTUP",
    ),
)
PLAIN = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "LC_TIME": "C",
    "TZ": "UTC",
    "TERM": "xterm",
}
EVERYTHING = {**PLAIN, **{name: f"canary-{name}" for name in SECRETS}}


@pytest.mark.parametrize("need", [None, *Need])
def test_no_kind_of_child_sees_what_is_not_named(need: Need | None) -> None:
    assert allowed(EVERYTHING, *([need] if need else [])) == PLAIN


UNSPEAKABLE = (
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX", "LANG": "C.UTF-8"},
    {"LANG": "C"},
    {"LC_ALL": "xx_YY.UTF-8"},
    {"LANG": "xx_YY.UTF-8", "LC_CTYPE": "C.UTF-8"},
    {"LC_CTYPE": "UTF-8"},
    {"LANG": "C.UTF-8", "LC_TIME": "xx_YY"},
)


@pytest.mark.parametrize("found", UNSPEAKABLE, ids=str)
def test_a_locale_that_is_not_installed_or_has_no_utf_8_is_replaced(found: dict[str, str]) -> None:
    assert allowed({"TZ": "UTC", **found}, Need.ANSIBLE) == {"TZ": "UTC", "LC_ALL": "C.UTF-8"}


@pytest.mark.parametrize(
    "found", [{}, {"LC_ALL": ""}, {"LANG": "C.UTF-8"}, {"LC_ALL": "C.UTF-8", "LANG": "xx"}], ids=str
)
def test_a_locale_that_works_stays(found: dict[str, str]) -> None:
    assert allowed(found, Need.ANSIBLE) == found


def test_our_own_locale_is_replaced_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANG", "xx_YY.UTF-8")
    with narrowed(Need.ANSIBLE):
        assert (os.environ.get("LC_ALL"), os.environ.get("LANG")) == ("C.UTF-8", None)
    assert (os.environ.get("LC_ALL"), os.environ.get("LANG")) == (None, "xx_YY.UTF-8")


@pytest.mark.parametrize("found", UNSPEAKABLE[:4], ids=str)
def test_ansible_starts_in_every_locale(tmp_path: Path, found: dict[str, str]) -> None:
    path = tmp_path / "hosts"
    path.write_text("a ansible_user=m\u00fcller\n", encoding="utf-8")
    code = f"from phi4_edge import inventory; print(ascii(inventory.load(({str(path)!r},))[0].user))"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path), **found}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "'m\\xfcller'\n", "")


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("ERROR: Ansible requires the filesystem encoding to be UTF-8; Detected x.", "LC_ALL=C.UTF-8"),
        ("ERROR: Ansible requires blocking IO on stdin/stdout/stderr.", "blocking IO.*how this was started"),
    ],
)
def test_what_keeps_ansible_from_starting_is_not_the_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, wanted: str
) -> None:
    def ends(*_: object) -> None:
        raise SystemExit(said)

    (tmp_path / "hosts").write_text("a\n")
    monkeypatch.setattr("phi4_edge.inventory.loader.importlib", types.SimpleNamespace(import_module=ends))
    with pytest.raises(PreflightError, match=f"Ansible cannot start here.*{wanted}"):
        inventory.load((str(tmp_path / "hosts"),))


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("ANSIBLE_VAULT_PASSWORD_FILE", {Need.ANSIBLE}),
        ("ANSIBLE_BECOME_PASS", {Need.ANSIBLE}),
        ("PHI4_EDGE_STORE", {Need.ANSIBLE}),
        ("PYTHONPATH", {Need.ANSIBLE}),
        ("DOCKER_HOST", {Need.ANSIBLE}),
        ("SSH_AUTH_SOCK", {Need.ANSIBLE, Need.SSH}),
        ("KRB5CCNAME", {Need.ANSIBLE, Need.SSH}),
        ("PIP_INDEX_URL", {Need.PACKAGES}),
        ("SSL_CERT_FILE", {Need.ANSIBLE, Need.NETWORK, Need.PACKAGES}),
        ("https_proxy", {Need.ANSIBLE, Need.SSH, Need.NETWORK, Need.PACKAGES}),
        ("NO_PROXY", {Need.ANSIBLE, Need.SSH, Need.NETWORK, Need.PACKAGES}),
        ("NAMED", {Need.ANSIBLE, Need.SSH, Need.NETWORK, Need.PACKAGES}),
        ("HOME", set(Need)),
    ],
)
def test_each_kind_of_child_sees_what_it_works_with(name: str, kinds: set[Need]) -> None:
    environ = {name: "value", KEEP: "OTHER, NAMED"}
    assert {need for need in Need if name in allowed(environ, need)} == kinds


def test_a_password_of_a_proxy_reaches_only_what_fetches() -> None:
    environ = {"HTTPS_PROXY": "http://me:canary@proxy.example:3128", "http_proxy": "http://proxy.example:3128"}
    assert {need for need in Need if "HTTPS_PROXY" in allowed(environ, need)} == {Need.NETWORK, Need.PACKAGES}
    assert "http_proxy" in allowed(environ, Need.ANSIBLE)
    assert "HTTPS_PROXY" in allowed({**environ, KEEP: "HTTPS_PROXY"}, Need.ANSIBLE)


def test_names_to_keep_are_names_and_no_patterns() -> None:
    environ = {"GH_PAT": "canary", "GH_OTHER": "canary", KEEP: "GH_*,,*, GH"}
    assert allowed(environ, Need.ANSIBLE) == {}


def test_what_would_change_our_own_run_is_not_handed_on() -> None:
    assert scrub({"ANSIBLE_STDOUT_CALLBACK": "json", "ANSIBLE_FORKS": "3"}) == {"ANSIBLE_FORKS": "3"}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, f"canary-{name}")


@pytest.fixture
def teller(tmp_path: Path) -> tuple[Path, Path]:
    """A program that writes its environment down, and where it does."""
    written, program = tmp_path / "seen.json", tmp_path / "tell"
    program.write_text(
        f"#!{sys.executable} -S\nimport json, os, sys\n"
        f"open({str(written)!r}, 'w').write(json.dumps(dict(os.environ)))\nprint(os.environ.get('ANSWER', '{{}}'))\n"
    )
    program.chmod(0o755)
    return program, written


def clean(written: Path) -> None:
    seen = json.loads(written.read_text())
    assert "PATH" in seen
    assert [name for name, value in seen.items() if "canary" in value] == []


@pytest.mark.usefixtures("secrets")
def test_a_vault_program_sees_no_secret(teller: tuple[Path, Path]) -> None:
    assert opened(VaultSecret("", str(teller[0]))).password == "{}"
    clean(teller[1])


@pytest.mark.usefixtures("secrets")
def test_an_executable_inventory_sees_no_secret_and_ours_come_back(
    teller: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_NOTHING", "x")
    program, written = teller
    text = program.read_text().replace("os.environ.get('ANSWER', '{}')", '\'{"all": {"hosts": ["gw1"]}}\'')
    program.write_text(text)
    assert [host.name for host in inventory.load([str(program)])] == ["gw1"]
    clean(written)
    assert json.loads(written.read_text())["ANSIBLE_NOTHING"] == "x"
    assert all(os.environ[name] == f"canary-{name}" for name in SECRETS)


@pytest.mark.usefixtures("secrets")
def test_the_environment_comes_back_after_an_error_and_what_was_set_meanwhile_stays() -> None:
    before = dict(os.environ)
    with pytest.raises(KeyError), narrowed():
        os.environ["SET_MEANWHILE"] = "1"
        _ = os.environ["GH_PAT"]
    assert os.environ.pop("SET_MEANWHILE") == "1"
    assert dict(os.environ) == before


@pytest.mark.usefixtures("secrets")
def test_ssh_of_ask_and_of_a_worker_see_no_secret(
    teller: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, written = teller
    (tmp_path / "ssh").symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    stream = ProcessStream(Host("gw1", address="192.0.2.1"), "127.0.0.1", 8080, Budget(20.0, 1 << 16))
    stream._process.wait(20)
    stream.close()
    clean(written)
    written.unlink()
    with Link("worker", [str(program)]) as link:
        link._process.wait(20)
    clean(written)


PREFLIGHT = """
import sys
from phi4_edge.operations.fleet import Fleet
from phi4_edge.core.inventory import Host, SshSettings
from phi4_edge.runner.access import Access
from phi4_edge.rollout.interrupt import Interrupts
host = Host("gw1", address="127.0.0.1", port=9, ssh=SshSettings(extra_args=f"-F {sys.argv[1]}"))
Fleet((host,), Access(("x",)), {}).refused(Interrupts())
"""


@pytest.mark.usefixtures("secrets")
def test_a_program_of_an_ssh_configuration_sees_no_secret(teller: tuple[Path, Path], tmp_path: Path) -> None:
    """`Match exec` runs while the preflight reads the configuration."""
    config = tmp_path / "ssh_config"
    config.write_text(f"Match exec {teller[0]}\n  Port 9\n")
    subprocess.run([sys.executable, "-c", PREFLIGHT, str(config)], stdin=subprocess.DEVNULL, check=True)
    clean(teller[1])


@pytest.mark.usefixtures("secrets")
def test_converters_see_neither_secrets_nor_what_pip_may_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:canary@index.example/simple")
    monkeypatch.setenv("https_proxy", "http://me:canary@proxy.example:3128")
    script = "import os; print([name for name, value in os.environ.items() if 'canary' in value])"
    assert process.run([sys.executable, "-c", script], process.environment()).tail == ("[]",)
    ended = process.run([sys.executable, "-c", script], process.fetching())
    assert sorted(json.loads(ended.tail[0].replace("'", '"'))) == ["PIP_INDEX_URL", "https_proxy"]


@pytest.mark.usefixtures("secrets")
def test_the_guard_of_a_run_sees_no_secret() -> None:
    from phi4_edge.runner.private import private_directory

    with private_directory({}):
        found: list[str] = []
        end = time.monotonic() + 20
        while not found and time.monotonic() < end:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            found = [each for each in children if b"runner/process.py" in Path(f"/proc/{each}/cmdline").read_bytes()]
        (guard,) = found
        assert b"canary" not in Path(f"/proc/{guard}/environ").read_bytes()


def test_an_unset_home_is_no_error() -> None:
    script = "from phi4_edge.environment import allowed; import os; print(allowed(os.environ))"
    done = subprocess.run([sys.executable, "-c", script], env={}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("{}", "{'LC_CTYPE': 'C.UTF-8'}")
