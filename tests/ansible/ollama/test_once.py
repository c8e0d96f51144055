"""A host has the model once: the store shares the pushed file, or the pushed file goes and its record stays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.ansible.host_scripts import hostadmit, hostlib, load
from tests.ansible.ollama.store_hosts import NEEDS_ROOT, Host, hosts, loaded

pytestmark = NEEDS_ROOT
# Weights that are larger than all else that Ollama writes.
NUMBERS = 1 << 19


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return loaded(monkeypatch)


@pytest.fixture
def host(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Host]]:
    yield from hosts(script, tmp_path, monkeypatch)


def on_disk(one: Host) -> int:
    """Bytes below the state directory; what is linked counts once."""
    found = {path.stat().st_ino: path.stat().st_size for path in one.state.rglob("*") if path.is_file()}
    return sum(found.values())


def survey(one: Host) -> dict[str, Any]:
    """What role artifact finds of the model before it would push it."""
    files = [{"path": "model.gguf", "sha256": one.digest, "size": one.size, "mode": "0644"}]
    args = {"destination": str(one.model), "staging": str(one.staging), "digest": "d", "name": "m", "files": files}
    return dict(load("artifact", "push").survey({**args, "links": []}, b""))


def refuse(*_: object) -> None:
    raise OSError(18, "Invalid cross-device link")


@pytest.fixture(params=["shared", "copied", "another file system"])
def made(
    request: pytest.FixtureRequest, script: ModuleType, host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> Host:
    """A host with its store, for each way in which that comes about."""
    one = host(quantized=request.param != "copied", numbers=NUMBERS)
    if request.param == "another file system":
        with monkeypatch.context() as patch:
            patch.setattr(os, "link", refuse)
            done = script.create(one.args(), b"")
    else:
        done = script.create(one.args(), b"")
    assert done["freed"] == (0 if request.param == "shared" else one.size)
    assert one.gguf.exists() is (request.param == "shared")
    return one


def test_the_model_is_there_once_and_is_not_pushed_again(script: ModuleType, made: Host) -> None:
    assert made.size <= on_disk(made) <= 1.02 * made.size
    found = script.inspect(made.args(), b"")
    assert (found["complete"], found["surplus"]) == (True, 0)
    assert script.create(made.args(), b"")["changed"] is False
    there = survey(made)
    assert (there["complete"], there["missing"]) == (True, 0)


def test_what_was_signed_still_names_it(made: Host) -> None:
    line = f"{made.digest}  model.gguf\n"
    assert hostadmit.tree(str(made.model)) == hashlib.sha256(line.encode()).hexdigest()


def test_other_variants_are_made_from_what_the_store_holds(script: ModuleType, made: Host) -> None:
    first, second = made.args(), made.args(made="m2", store=str(made.store.with_name("s2")))
    assert script.create(second, b"")["changed"] is True
    assert on_disk(made) <= 1.02 * made.size
    for args in (first, second):
        found = script.inspect(args, b"")
        assert (found["complete"], found["surplus"]) == (True, 0)
    # The first store goes with its release; the second is still what the model became.
    hostlib.remove_tree(first["store"] + ".json")
    hostlib.remove_tree(first["store"])
    assert survey(made)["complete"] is True
    # A store takes the place of the one that it is made from.
    assert script.create({**second, "made": "m3"}, b"")["changed"] is True
    assert survey(made)["complete"] is True
    assert on_disk(made) <= 1.02 * made.size


@pytest.mark.parametrize("harm", ["weights changed", "weights gone", "store gone", "record gone"])
def test_a_store_that_is_not_whole_stands_for_nothing(script: ModuleType, host: Callable[..., Host], harm: str) -> None:
    one = host(quantized=False, numbers=NUMBERS)
    content = one.gguf.read_bytes()
    script.create(one.args(), b"")
    blob = max((one.store / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    if harm == "weights changed":
        blob.write_bytes(b"other" + blob.read_bytes()[5:])
    elif harm == "weights gone":
        blob.unlink()
    else:
        hostlib.remove_tree(str(one.store) + (".json" if harm == "record gone" else ""))
    there = survey(one)
    assert (there["complete"], there["missing"]) == (False, one.size)
    with pytest.raises(hostlib.HostError, match=r"found no .*model\.gguf, needed the model there: run the same"):
        script.create(one.args(), b"")
    # Role artifact has sent it again.
    one.gguf.write_bytes(content)
    hostlib.write_record(str(one.model), [hostlib.entry(str(one.gguf), "model.gguf")])
    assert script.create(one.args(), b"")["freed"] == one.size
    assert survey(one)["complete"] is True


@pytest.mark.parametrize("cut", ["before the record", "before the file"])
def test_a_run_that_was_cut_off_is_ended_by_the_next(
    script: ModuleType, host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    one = host(quantized=False, numbers=NUMBERS)

    unlink = os.unlink

    def end(path: object = None, **options: Any) -> None:
        if isinstance(path, str) and path != str(one.gguf):
            return unlink(path, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(script, "surplus", end) if cut == "before the record" else patch.setattr(os, "unlink", end)
        script.create(one.args(), b"")
    assert one.gguf.exists()
    assert survey(one)["complete"] is True
    found = script.inspect(one.args(), b"")
    assert (found["complete"], found["surplus"]) == (True, one.size)
    servers = len(one.servers)
    done = script.create(one.args(), b"")
    assert (done["changed"], done["freed"], len(one.servers)) == (True, one.size, servers)
    assert not one.gguf.exists()


def test_a_file_that_vanished_by_itself_is_sent_again(script: ModuleType, host: Callable[..., Host]) -> None:
    one = host(numbers=NUMBERS)
    script.create(one.args(), b"")
    one.gguf.unlink()
    assert survey(one)["missing"] == one.size
    with pytest.raises(Exception, match="is not what was delivered"):
        hostadmit.tree(str(one.model))
