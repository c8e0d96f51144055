"""The journal as the host script writes it says the same as the model that the promises are proved on."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from phi4_edge.core.facts.journal import PHASES, ROLLBACK, Journal, recovery

sys.path.insert(0, str(Path(__file__).parents[4] / "cli" / "phi4_edge" / "remote" / "host"))
import hostjournal

DOING = {"stage": "stage", "verify": "verify", "switch": "switch", "probe": "gate", "commit": "commit"}
ENTRY = st.tuples(
    st.sampled_from(["run-1", "run-2"]), st.sampled_from([*DOING, ROLLBACK]), st.sampled_from(PHASES),
    st.sampled_from(["r-1", "r-2"]),
)  # fmt: skip


@settings(max_examples=120)
@given(st.lists(st.one_of(ENTRY, st.just("close")), max_size=25))
def test_the_host_writes_what_the_model_says(entries: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model, path = Journal(), Path(folder) / "state" / "journal.json"
        for entry in entries:
            if entry == "close":
                hostjournal.close(str(path.parent))
                if model.present and model.step in ("stage", "verify"):
                    model = Journal(**{**model.to_dict(), "closed": True})
            else:
                model = written(model, str(path.parent), *entry)
            found = Journal.from_dict({**json.loads(path.read_text()), "present": True} if path.exists() else None)
            assert found.open is model.open
            assert found.switched is model.switched
            if found.switched:
                assert (found.step, found.phase, found.release) == (model.step, model.phase, model.release)
            for committed in ("", "r-1"):
                for wanted in ("", "r-1", "r-2"):
                    assert recovery(found, committed, wanted) is recovery(model, committed, wanted)


def written(model: Journal, folder: str, run: str, step: str, phase: str, release: str) -> Journal:
    """The host writes the entry; what the model says after it. A way back is one from what was there before."""
    after_way_back = model.id == run and (model.step, model.phase) == (ROLLBACK, "after")
    args = {"do": DOING.get(step, ROLLBACK), "release": release}
    hostjournal.write(folder, {"id": run, "operation": "provision", "folder": folder}, step, phase, args)
    if step == "probe" and after_way_back:  # the gate of the release that was gone back to
        return model
    of = model.release if step == ROLLBACK else release
    after = model.then(Journal(True, run, "provision", of, step, phase))
    return Journal(**{**after.to_dict(), "id": run})


def test_a_cut_after_a_switch_that_was_cut_does_not_look_harmless(tmp_path: Path) -> None:
    """Found by the model: run 2 stages the same release again, and is cut too; run 3 wants another one."""
    held = {"id": "run-1", "operation": "provision", "folder": str(tmp_path)}
    hostjournal.write(str(tmp_path), held, "switch", "before", {"do": "switch", "release": "r-2"})
    hostjournal.write(str(tmp_path), {**held, "id": "run-2"}, "stage", "before", {"do": "stage", "release": "r-2"})
    hostjournal.close(str(tmp_path))
    found = Journal.from_dict({**json.loads((tmp_path / "journal.json").read_text()), "present": True})
    assert (found.id, found.step, found.release, found.switched) == ("run-2", "switch", "r-2", True)
    assert recovery(found, "r-1", "r-3") == "undo"
