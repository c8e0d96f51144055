"""Ansible's table of where its plugins went is parsed once, and nothing but our own file is believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from phi4_edge.inventory import routing

TABLE = ("plugin_routing:\n" + "".join(f"  module{number}: {{redirect: a.b.c}}\n" for number in range(2000))).encode()


class Parser:
    """Counts what it is asked to parse."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, text: bytes | str, content_id: Any) -> Mapping[str, Any]:
        self.asked += 1
        return {"parsed": len(text)}


def test_a_table_is_parsed_once_and_another_one_anew(tmp_path: Path) -> None:
    parser = Parser()
    for _ in range(3):
        assert routing._Remembering(parser, tmp_path)(TABLE, None) == {"parsed": len(TABLE)}
    assert parser.asked == 1
    assert routing._Remembering(parser, tmp_path)(TABLE + b" ", None) == {"parsed": len(TABLE) + 1}
    assert parser.asked == 2
    assert routing._Remembering(parser, tmp_path)(b"small: {}", None) == {"parsed": 9}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "list", "readable", "gone"])
def test_what_is_no_whole_file_of_ours_is_parsed_again(tmp_path: Path, damage: str) -> None:
    parser = Parser()
    remembering = routing._Remembering(parser, tmp_path)
    remembering(TABLE, None)
    file = next(tmp_path.iterdir())
    if damage == "cut":
        file.write_text(file.read_text()[:-3])
    elif damage == "list":
        file.write_text(json.dumps([1]))
    elif damage == "readable":
        file.chmod(0o666)
    else:
        file.unlink()
    assert remembering(TABLE, None) == {"parsed": len(TABLE)}
    assert parser.asked == 2


def test_no_room_for_it_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert routing._Remembering(Parser(), tmp_path / "file" / "below")(TABLE, None) == {"parsed": len(TABLE)}


def test_ansibles_own_table_is_read_alike(tmp_path: Path) -> None:
    import ansible
    from ansible.utils.collection_loader._collection_meta import _meta_yml_to_dict as parse

    text = (Path(ansible.__file__).parent / "config" / "ansible_builtin_runtime.yml").read_bytes()
    remembering = routing._Remembering(parse, tmp_path)
    assert remembering(text, None) == remembering(text, None) == parse(text, None)
