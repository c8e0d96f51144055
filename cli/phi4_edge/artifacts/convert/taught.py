"""Makes the tiny model that comes with the package: taught, examined in every form that engines read, and kept.

For who changes its dialogues or the tools that make it (`make tiny-model`); all others fetch what was made here.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from phi4_edge.artifacts.convert import environment, exam, onnx, onnx_prover, prover, targets, tie, tiny
from phi4_edge.artifacts.convert.environment import Converter
from phi4_edge.artifacts.convert.gguf import FILE
from phi4_edge.artifacts.convert.worker import SOURCE, run_worker
from phi4_edge.artifacts.fetch.model import PUBLISHED
from phi4_edge.artifacts.store import files, manifest
from phi4_edge.artifacts.store.manifest import Manifest
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.catalog.model import Catalog
from phi4_edge.errors import ArtifactError
from phi4_edge.progress import Event, Progress, silent

SEED = 5
RECIPE = ("lessons.py", "make_tiny.py", "teaching.py", "tiny_dialogues.toml", "tiny_text.txt")
GGUF = "gguf-q4_0"
# What is shipped: for tying, for vLLM and other quantizations, for Ollama. All together at most so many bytes.
VARIANTS = (SOURCE, PUBLISHED, GGUF)
# As Microsoft published the real one.
_UNTIED = {"block_size": 32, "shared_embeddings": "false", "prune_lm_head": "false"}
MOST_BYTES = 10_000_000
# Part of the questions that must be answered word for word, in each form.
PASS = 0.99


def make(store: Store, catalog: Catalog, folder: Path, progress: Progress = silent) -> dict[str, exam.Graded]:
    """Teach the model anew, and have it in `folder` as the package has it; return its marks by form.

    The same machine and tool versions give the same bytes. Raises ArtifactError, and leaves `folder` as it is, when a
    tool fails, the model does not pass, or it is larger than what may be shipped.
    """
    converter = environment.ensure(store, progress)
    with store.workspace("taught") as work:
        made = Store(work / "store")
        made.root.mkdir()
        for name in ("environments", "locks"):
            (made.root / name).symlink_to(store.root / name)
        _teach(made, converter, work, progress)
        _export(made, converter, work, progress)
        targets.convert(made, catalog, tiny.MODEL, GGUF, progress, SOURCE)
        marks = _examined(made, converter, work, progress)
        ready = work / "ready"
        for variant in VARIANTS:
            shutil.copytree(made.path(made.digest(f"{tiny.MODEL}/{variant}")), ready / variant)
        size = sum(path.stat().st_size for path in ready.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise ArtifactError(f"the taught model has {size} bytes, needed at most {MOST_BYTES}")
        files.erase(folder)
        shutil.copytree(ready, folder)
    return marks


def parameters() -> dict[str, object]:
    """What decides the checkpoint: the seed, the recipe and the versions of the tools."""
    return {"seed": SEED, "recipe": tiny.recipe(RECIPE), "lock": environment.lock_digest()}


def _teach(store: Store, converter: Converter, work: Path, progress: Progress) -> None:
    artifact, output = f"{tiny.MODEL}/{SOURCE}", work / "checkpoint"
    progress(Event(artifact, "teaching"))
    arguments: dict[str, object] = {"output": str(output), "seed": SEED}
    failed = f"{artifact} could not be taught"

    def said(line: str) -> None:
        if line.startswith("step "):
            progress(Event(artifact, "teaching", line))

    run_worker(converter, "teach_tiny", arguments, work, failed, said)
    source = {"kind": "taught", "seed": SEED}
    store.adopt(output, tiny.described(artifact, output, source, converter, parameters()))


def _export(store: Store, converter: Converter, work: Path, progress: Progress) -> None:
    """The checkpoint as its maker would publish it for ONNX: untied, the template in the tokenizer's configuration."""
    artifact, output = f"{tiny.MODEL}/{PUBLISHED}", work / "published"
    progress(Event(artifact, "converting"))
    source = store.manifest(f"{tiny.MODEL}/{SOURCE}")
    export(converter, store.path(source.digest), output, work)
    store.adopt(
        output,
        Manifest(
            artifact=artifact,
            files=manifest.describe(output),
            licence=source.licence,
            source={"kind": "taught", "artifact": source.artifact, "digest": source.digest},
            created_by=converter.versions,
            parameters={"precision": onnx.PRECISION, **onnx.OPTIONS, **_UNTIED},
        ),
    )


def export(converter: Converter, checkpoint: Path, output: Path, work: Path, **options: object) -> None:
    """Write the untied export of `checkpoint` as a hub has it; `options` of the builder differ."""
    arguments: dict[str, object] = {
        "input": str(checkpoint),
        "output": str(output),
        "cache": str(work / "cache"),
        "precision": onnx.PRECISION,
        "provider": onnx.PROVIDER,
        "options": {**onnx.OPTIONS, **_UNTIED, **options},
    }
    run_worker(converter, "convert_onnx", arguments, work, "there is no untied export", lambda line: None)
    # The published folder has the template there, and no file of its own.
    template, settings = output / "chat_template.jinja", output / "tokenizer_config.json"
    config = {**json.loads(settings.read_text(encoding="utf-8")), "chat_template": template.read_text(encoding="utf-8")}
    settings.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    template.unlink()


def _examined(store: Store, converter: Converter, work: Path, progress: Progress) -> dict[str, exam.Graded]:
    """The marks by form. Raises ArtifactError where one does not pass."""
    tied, asked = work / "tied", exam.questions()
    tie.tie(_folder(store, PUBLISHED), tied, f"{tiny.MODEL}/onnx-int4", progress)
    taken = {
        "tied": (onnx_prover.ensure(store, progress), tied),
        "gguf": (prover.ensure(store, progress), _folder(store, GGUF) / FILE),
        "torch": (converter, _folder(store, SOURCE)),
    }
    marks = {}
    for form, (tester, model) in taken.items():
        progress(Event(tiny.MODEL, "examining", form))
        marks[form] = exam.examine(tester, form, model, work, asked)
        progress(Event(tiny.MODEL, "examined", f"{form}: {marks[form].right} of {marks[form].asked} right"))
    if failed := [form for form, one in marks.items() if one.right < PASS * one.asked]:
        shown = "\n".join(f"    {prompt[-120:]!r}: {answer[:120]!r}" for prompt, answer in marks[failed[0]].wrong[:20])
        raise ArtifactError(f"the model did not pass as {', '.join(failed)}:\n{shown}")
    return marks


def _folder(store: Store, variant: str) -> Path:
    return store.path(store.digest(f"{tiny.MODEL}/{variant}"))
