"""A pushed tree with executables and links, on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from phi4_edge.core import manifest
from tests.ansible.artifact.test_push import Bench, sent

CONTENT = {"bin/engine": b"#!/bin/sh\n", "lib/libx.so.1": b"library"}


def tree(folder: Path) -> Bench:
    bench = Bench(folder, CONTENT)
    document = json.loads((bench.source / "manifest.json").read_text())
    document["files"][0]["mode"] = "0755"
    document["links"] = [{"path": "lib/libx.so", "target": "libx.so.1"}]
    del document["digest"]
    text = json.dumps(document)
    bench.digest = manifest.digest(*manifest.manifest(text, None))
    (bench.source / "manifest.json").write_text(text)
    return bench


def test_modes_and_links_arrive_and_a_second_push_changes_nothing(tmp_path: Path) -> None:
    bench = tree(tmp_path)
    first = bench.push()
    assert first.status == 0, first.output
    assert (bench.destination / "bin" / "engine").stat().st_mode & 0o777 == 0o755
    assert (bench.destination / "lib" / "libx.so.1").stat().st_mode & 0o777 == 0o644
    assert (bench.destination / "lib" / "libx.so").readlink() == Path("libx.so.1")
    assert bench.push().recap("here")["changed"] == 0
    record = json.loads(bench.destination.with_name("thing.json").read_text())
    assert record["links"] == [{"path": "lib/libx.so", "target": "libx.so.1"}]


def test_a_changed_link_and_a_lost_mode_are_mended_and_a_stray_link_goes(tmp_path: Path) -> None:
    bench = tree(tmp_path)
    bench.push()
    (bench.destination / "lib" / "libx.so").unlink()
    (bench.destination / "lib" / "libx.so").symlink_to("/bin/true")
    (bench.destination / "stray").symlink_to("/etc")
    again = bench.push()
    assert again.recap("here")["changed"] == 1, again.output
    assert sent(again) == 0
    assert (bench.destination / "lib" / "libx.so").readlink() == Path("libx.so.1")
    assert not (bench.destination / "stray").is_symlink()
    (bench.destination / "bin" / "engine").chmod(0o644)
    mended = bench.push()
    assert sent(mended) == len(CONTENT["bin/engine"])
    assert (bench.destination / "bin" / "engine").stat().st_mode & 0o777 == 0o755
    assert bench.push().recap("here")["changed"] == 0


def test_links_that_came_with_files_are_in_the_receipt(tmp_path: Path) -> None:
    from tests.ansible.host_scripts import ONE, Host, hostlib

    host = Host(tmp_path)
    host.release(ONE, "m1")
    model = host.state / "models" / "m1"
    (model / "libx.so").symlink_to("weights")
    line = {"path": "libx.so", "target": "weights"}
    hostlib.write_record(str(model), [hostlib.entry(str(model / "weights"), "weights")], [line])
    host.commit(ONE, "m1")
    links = {entry["path"]: entry["target"] for entry in json.loads(host.receipt.read_text())["links"]}
    assert links[str(model / "libx.so")] == "weights"
    assert links[str(host.root / "current")] == f"releases/{ONE}"
