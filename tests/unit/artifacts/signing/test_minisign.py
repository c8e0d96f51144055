"""What we sign minisign verifies, and what minisign signs we do; its keys are read with and without a password."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi4_edge.artifacts.signing import minisign, secret
from phi4_edge.artifacts.signing.minisign import PublicKey, SignatureRefusedError
from phi4_edge.artifacts.signing.secret import SecretKey
from phi4_edge.errors import ArtifactError

pytestmark = pytest.mark.slow

PROGRAM = shutil.which("minisign")
needs_minisign = pytest.mark.skipif(PROGRAM is None, reason="needs minisign (.ci/host-setup installs it)")
PASSWORD = "a password with ü"


def call(*words: object, words_in: str = "") -> subprocess.CompletedProcess[str]:
    assert PROGRAM is not None
    return subprocess.run(
        [PROGRAM, *map(str, words)], input=words_in, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one key that has a password, and one that has none."""
    folder = tmp_path_factory.mktemp("keys")
    assert call("-G", "-W", "-p", folder / "open.pub", "-s", folder / "open.key").returncode == 0
    made = call("-G", "-p", folder / "closed.pub", "-s", folder / "closed.key", words_in=f"{PASSWORD}\n{PASSWORD}\n")
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def secrets(keys: Path) -> dict[str, SecretKey]:
    """Both keys, read once: minisign's costs make a password take two seconds and a gigabyte."""
    return {name: secret.read(keys / f"{name}.key", lambda: PASSWORD) for name in ("open", "closed")}


def public(path: Path) -> PublicKey:
    return PublicKey.parse(path.read_text(), str(path))


@needs_minisign
@pytest.mark.parametrize("name", ["open", "closed"])
def test_minisign_verifies_what_we_sign(keys: Path, secrets: dict[str, SecretKey], tmp_path: Path, name: str) -> None:
    key = secrets[name]
    assert key.public == public(keys / f"{name}.pub")
    message = tmp_path / "statement.json"
    message.write_bytes(b"signed\n" * 1000)
    made = key.sign(message.read_bytes(), "timestamp:1\tcounter:7\thashed")
    (tmp_path / "statement.json.minisig").write_bytes(made.encode())
    shown = call("-V", "-m", message, "-p", keys / f"{name}.pub")
    assert shown.returncode == 0, shown.stderr
    assert "timestamp:1\tcounter:7" in shown.stdout
    message.write_bytes(b"signed\n" * 999)
    assert call("-V", "-m", message, "-p", keys / f"{name}.pub").returncode == 1


@needs_minisign
@pytest.mark.parametrize("options", [(), ("-l",), ("-t", "counter:9 expires:2030-01-01T00:00:00Z"), ("-c", "mine")])
def test_we_verify_what_minisign_signs(keys: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    message = tmp_path / "fleet.tar"
    message.write_bytes(bytes(range(256)) * 5000)
    assert call("-S", *options, "-s", keys / "open.key", "-m", message).returncode == 0
    raw = (tmp_path / "fleet.tar.minisig").read_bytes()
    (signature,) = minisign.signatures(raw, "fleet.tar")
    assert signature.encode() == raw
    assert signature.algorithm == (minisign.LEGACY if options == ("-l",) else minisign.PREHASHED)
    key = public(keys / "open.pub")
    minisign.verify(key, signature, message.read_bytes(), "fleet.tar")
    with message.open("rb") as stream:
        minisign.verify(key, signature, stream, "fleet.tar")
    with pytest.raises(SignatureRefusedError, match="does not hold"):
        minisign.verify(key, signature, message.read_bytes() + b"x", "fleet.tar")
    with pytest.raises(SignatureRefusedError, match="is signed by key"):
        minisign.verify(public(keys / "closed.pub"), signature, message.read_bytes(), "fleet.tar")


@needs_minisign
def test_several_signatures_below_each_other_start_with_one_that_minisign_reads(
    keys: Path, secrets: dict[str, SecretKey], tmp_path: Path
) -> None:
    message = tmp_path / "statement.json"
    message.write_bytes(b"both\n")
    both = [secrets[name].sign(b"both\n", "x").encode() for name in ("open", "closed")]
    (tmp_path / "statement.json.minisig").write_bytes(b"".join(both))
    assert call("-V", "-m", message, "-p", keys / "open.pub").returncode == 0


@needs_minisign
def test_another_password_opens_nothing(keys: Path) -> None:
    with pytest.raises(ArtifactError, match="the password is wrong, or the file was damaged"):
        secret.read(keys / "closed.key", lambda: PASSWORD + " ")


@needs_minisign
def test_a_key_without_password_asks_for_none_and_is_never_shown(keys: Path) -> None:
    def ask() -> str:
        raise AssertionError("asked")

    key = secret.read(keys / "open.key", ask)
    assert key.seed.hex() not in repr(key)
    assert repr(key.seed) not in repr(key)


@needs_minisign
@pytest.mark.parametrize("at", [0, 3, 5, 40, 70, 100, 157])
def test_a_damaged_secret_key_is_refused(keys: Path, tmp_path: Path, at: int) -> None:
    import base64

    first, line = (keys / "open.key").read_text().splitlines()
    raw = bytearray(base64.b64decode(line))
    raw[at] ^= 1
    (tmp_path / "bad.key").write_text(f"{first}\n{base64.b64encode(bytes(raw)).decode()}\n")
    if 6 <= at < 54:  # salt and costs of a password that it does not have; minisign does not look at them either
        secret.read(tmp_path / "bad.key", lambda: "")
        return
    with pytest.raises(ArtifactError, match=r"needed one that 'minisign -G' wrote|the file was damaged"):
        secret.read(tmp_path / "bad.key", lambda: "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RWQ",
        "x" * 100_000,
        "untrusted comment: x\n",
        "untrusted comment: x\nRW==\n",
        "RW" + "A" * 54,
        "\0" * 56,
        "é" * 56,
    ],
)
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SignatureRefusedError, match=r"found (no minisign public key|a key that no honest)"):
        PublicKey.parse(text, "KEY")
    (tmp_path / "a.key").write_text(text)
    with pytest.raises(ArtifactError, match="found no minisign secret key"):
        secret.read(tmp_path / "a.key", lambda: "")


def test_a_key_that_wants_more_memory_than_minisign_ever_does_is_refused(tmp_path: Path) -> None:
    import base64

    head = b"EdScB2" + bytes(32) + (1 << 25).to_bytes(8, "little") + (1 << 40).to_bytes(8, "little")
    (tmp_path / "a.key").write_text(f"untrusted comment: x\n{base64.b64encode(head + bytes(104)).decode()}\n")
    with pytest.raises(ArtifactError, match="asks for 1099511627776 bytes of memory"):
        secret.read(tmp_path / "a.key", lambda: "x")


@pytest.mark.parametrize(
    ("operations", "memory", "wanted"),
    # libsodium's own presets: interactive, and sensitive, which minisign uses.
    [(524288, 16777216, (14, 1)), (33554432, 1073741824, (20, 1)), (1, 1 << 24, (10, 1))],
)
def test_costs_are_those_of_libsodium(operations: int, memory: int, wanted: tuple[int, int]) -> None:
    assert secret.costs(operations, memory) == wanted


@settings(max_examples=60)
@given(st.binary(max_size=600))
def test_no_bytes_are_more_than_refused(raw: bytes) -> None:
    with pytest.raises(SignatureRefusedError):
        minisign.signatures(b"untrusted comment: x\n" + raw, "x")
