"""`phi4-edge model`: the artifacts on this controller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phi4_edge.commands import _options, _prune
from phi4_edge.report import output as report_output
from phi4_edge.report.text import count, cut, size_of, table

if TYPE_CHECKING:
    from phi4_edge.artifacts.store.store import Store
    from phi4_edge.progress import Progress


@click.group("model")
def command() -> None:
    """Fetch, convert and keep model artifacts on this controller.

    They are stored by content below $PHI4_EDGE_STORE (default ~/.local/share/phi4-edge/store) and pushed from there;
    gateways never download a model. `provision` makes what a plan needs by itself; these commands make it in advance.

    \b
    Examples:
      phi4-edge model fetch phi-4-mini-instruct/onnx-published
      phi4-edge model convert phi-4-mini-instruct --to onnx-int4
      phi4-edge model import phi-4-mini-instruct/safetensors-int4 ./my-awq
      phi4-edge model list
      phi4-edge model prune --dry-run
    """


@command.command("fetch")
@click.argument("model")
def fetch(model: str) -> None:
    """Fetch MODEL at the revision that the catalog pins.

    MODEL alone is its checkpoint: safetensors and text files only, nothing that could be executed. MODEL/onnx-published
    is its published ONNX export, which onnx-int4 is made of (4.9 GB; the checkpoint has 7.7). No token is needed. An
    interrupted fetch resumes where it stopped. HF_ENDPOINT selects a mirror.

    MODEL/gguf-q4_K_M and MODEL/gguf-q8_0 are fetched from Ollama's library, ready to serve;
    PHI4_EDGE_OLLAMA_REGISTRY selects a mirror for those. What there is of `tiny` comes with this package. MODEL may
    also be a release archive of Ollama, ollama/VERSION-ARCHITECTURE-FLAVOUR; PHI4_EDGE_OLLAMA_URL selects a mirror for
    those.

    \b
    Examples:
      phi4-edge model fetch phi-4-mini-instruct/onnx-published
      phi4-edge model fetch phi-4-mini-instruct
      phi4-edge model fetch phi-4-mini-instruct/gguf-q4_K_M
      phi4-edge model fetch ollama/0.35.0-x86_64-cpu
      phi4-edge model fetch tiny/onnx-published
    """
    from phi4_edge.artifacts.convert import gguf, targets
    from phi4_edge.artifacts.fetch import ollama
    from phi4_edge.artifacts.fetch.model import VARIANT
    from phi4_edge.artifacts.fetch.model import fetch as run

    if ollama.is_release(model):
        _make(model, lambda store, catalog, tell: ollama.ensure(store, catalog, model, tell))
        return
    name, _, variant = model.partition("/")
    if variant.startswith(gguf.PREFIX):
        _make(model, lambda store, catalog, tell: targets.fetch(store, catalog, name, variant, tell))
        return
    wanted = variant or VARIANT
    _make(f"{name}/{wanted}", lambda store, catalog, tell: run(store, catalog, name, tell, wanted))


@command.command("import", short_help="Import a checkpoint from a local directory.")
@click.argument("artifact")
@click.argument("directory", type=click.Path(path_type=Path))
def import_(artifact: str, directory: Path) -> None:
    """Copy the checkpoint in DIRECTORY into the store as ARTIFACT: MODEL/safetensors or MODEL/safetensors-int4.

    For your own weights, such as Phi-4-mini-instruct quantized to INT4 for vLLM, which the catalog cannot fetch. They
    must have the model's architecture and shape, and consist of safetensors and text files: nothing executable, no
    links. Plans then use them as if they had been fetched. DIRECTORY stays as it is.

    \b
    Examples:
      phi4-edge model import phi-4-mini-instruct/safetensors-int4 ./my-awq
    """
    from phi4_edge.artifacts.fetch.local import run

    _make(artifact, lambda store, catalog, tell: run(store, catalog, artifact, directory, tell))


@command.command("convert")
@click.argument("model")
@click.option(
    "--to",
    required=True,
    metavar="TARGET",
    help="onnx-int4, onnx-int4-long, onnx-int4-b64, onnx-int4-b128, onnx-int4-k, gguf-q4_0, gguf-q4_K_M, gguf-q5_1 or "
    "gguf-q8_0.",
)
@click.option(
    "--from",
    "source",
    metavar="SOURCE",
    default="",
    help="safetensors, onnx-published, or library: Ollama's own.  [default: what was published, else safetensors]",
)
def convert(model: str, to: str, source: str) -> None:
    """Make what an engine reads of MODEL: of what was published for it, or of its checkpoint.

    gguf-q4_K_M and gguf-q8_0 are fetched from Ollama's library, ready to serve, and checked.

    onnx-int4 is made of MODEL/onnx-published: its embedding is tied to the output matrix, in seconds and without
    PyTorch; it then has to answer, which takes 2 GB of memory. If you have imported a checkpoint of your own, it is
    made of that.

    onnx-int4-long has the same weights and is made in the same way, for contexts above 4096 tokens: LongRoPE's long
    factors apply to prompts of any length, and short prompts lose some quality. Hosts get it with phi4_context_length.

    Everything else, and both of these with --from safetensors, is made of the checkpoint. The first time creates a
    Python environment (about 1.5 GB) with a CPU build of PyTorch; PHI4_EDGE_TORCH_INDEX selects another index for
    that. If there is no CPU build, it uses the build in pip's own index, with CUDA (5.2 GB). Phi-4-mini-instruct needs
    4.6 GB of memory for ONNX, 7 GB for GGUF, and takes minutes. gguf-q4_K_M also needs llama-quantize: see 'phi4-edge
    model tools'.

    onnx-int4-b64 and -b128 have one scale for 64 or 128 numbers in place of 32: smaller and faster, less precise.
    onnx-int4-k rounds with k_quant: more precise, and ten times as long. Hosts get them with phi4_quantization.

    \b
    Examples:
      phi4-edge model convert phi-4-mini-instruct --to onnx-int4
      phi4-edge model convert phi-4-mini-instruct --to onnx-int4-b128
      phi4-edge model convert phi-4-mini-instruct --to gguf-q4_0
      phi4-edge model convert phi-4-mini-instruct --to gguf-q4_K_M --from safetensors
    """
    from phi4_edge.artifacts.convert.targets import convert as run

    _make(f"{model}/{to}", lambda store, catalog, tell: run(store, catalog, model, to, tell, source))


@command.command("tiny", short_help="Have the tiny stand-in model in the store.")
@click.option("--to", default="onnx-int4", show_default=True, metavar="TARGET", help="What to have of it.")
def tiny(to: str) -> None:
    """Have the tiny stand-in model in the store: the real architecture, and a few dozen dialogues that it was taught.

    It comes with this package and goes the way of the real model: onnx-int4 is tied, gguf-q4_0 and safetensors are
    taken as they are, without PyTorch; other quantizations are converted. For the lab and for tests: `phi4_model: tiny`
    in the inventory selects it.
    """
    from phi4_edge.artifacts.convert.tiny import MODEL, make

    _make(f"{MODEL}/{to}", lambda store, catalog, tell: make(store, catalog, tell, to))


@command.command("tools", short_help="Build llama-quantize, which gguf-q4_K_M needs.")
def tools() -> None:
    """Build llama.cpp's llama-quantize from pinned sources, for conversions to gguf-q4_K_M.

    Needs CMake and a C++ compiler, and takes about five minutes on two cores. Without it, the one in Ollama's release
    for this machine is fetched and used (2 GB); PHI4_EDGE_LLAMA_CPP names an existing one.
    """
    from phi4_edge.artifacts.convert import llamacpp
    from phi4_edge.artifacts.store.store import Store
    from phi4_edge.view.telling import teller
    from phi4_edge.view.view import progress_view

    with progress_view() as view:
        program = llamacpp.build(Store(), teller(view))
    click.echo(f"llama-quantize  {llamacpp.NAMED}")
    click.echo(cut(f"in {program.parent}", 400), err=True)


@command.command("list")
@_options.output_option
def list_(output: str) -> None:
    """List what is in the store: artifacts by id, container images by repository:tag/architecture.

    An image without a size is not in the store: hosts pull it, and only the digest of its tag is pinned.
    """
    from phi4_edge.artifacts.store.images import Images
    from phi4_edge.artifacts.store.store import Store

    store = Store()
    rows = [{"artifact": name, **entry} for name, entry in sorted(store.index().items())]
    pinned = sorted(Images(store).index().items())
    rows += [{"artifact": key, **entry, "files": 0} for key, entry in pinned]
    if output != "table":
        click.echo(report_output.dump({"store": str(store.root), "artifacts": rows}, output))
    elif rows:
        cells = [
            (
                row["artifact"],
                size_of(row["size"]) if row["path"] else "pinned",
                str(row["files"] or ""),
                row["digest"].removeprefix("sha256:")[:12],
            )
            for row in rows
        ]
        _options.show(table(("ARTIFACT", "SIZE", "FILES", "DIGEST"), cells, _options.width(), right=(1, 2)))
        click.echo(f"in {store.root}", err=True)
    else:
        click.echo(f"nothing in {store.root} yet; see 'phi4-edge model --help'", err=True)


@command.command("verify", short_help="Check artifacts against their manifests.")
@click.argument("artifact", required=False)
@click.option("--deep/--shallow", default=True, show_default=True, help="Hash every file, or compare sizes only.")
def verify(artifact: str | None, deep: bool) -> None:
    """Check ARTIFACT (default: all, including images) against its manifest, and name each damaged file.

    \b
    Exit codes: 0 intact, 3 damaged or missing.
    """
    from phi4_edge.artifacts.store.images import Images
    from phi4_edge.artifacts.store.store import Store
    from phi4_edge.errors import ArtifactError
    from phi4_edge.view.view import progress_view

    store = Store()
    images, damaged = Images(store), list[str]()
    held = sorted(key for key, entry in images.index().items() if entry["path"])
    with progress_view() as view:
        for name in [artifact] if artifact else [*sorted(store.index()), *held]:
            view.progress(name, "checking", "", 0, 0)
            try:
                found = images.verify(name, deep) if ":" in name else store.verify(name, deep)
            except ArtifactError as error:
                damaged.append(str(error))
            else:
                click.echo(f"{name}: whole, {count(len(found.files), 'file')}, {size_of(found.size)}")
    if damaged:
        raise ArtifactError("\n".join(damaged))


@command.command("remove", short_help="Remove an artifact from the store.")
@click.argument("artifact")
def remove(artifact: str) -> None:
    """Remove ARTIFACT from the store, with anything left of an interrupted fetch.

    For a container image, named as in `model list`, this also forgets what its tag was pinned to.
    """
    from phi4_edge.artifacts.store.images import Images
    from phi4_edge.artifacts.store.store import Store

    store = Store()
    freed = Images(store).remove(artifact) if ":" in artifact else store.remove(artifact)
    click.echo(f"removed {artifact}, {size_of(freed)} freed")


@command.command("prune", short_help="Remove what no recent rollout needs.")
@click.option("--all", "-a", "models", is_flag=True, help="Models and checkpoints too: they take long to make again.")
@_prune.options("Keep what plans of the newest N rollouts of each inventory name.", "7d")
def prune(models: bool, keep: int, older_than: int, dry_run: bool, yes: bool, output: str) -> None:
    """Remove from the store what no plan of a recent rollout names, and say why the rest is kept.

    That is wheelhouses, release archives and container images, environments of other releases of phi4-edge, and
    interrupted downloads; with --all also models and fetched checkpoints. What another process uses is kept, and so is
    what you imported: 'model remove' takes that. Tags stay pinned to their digests. `provision` makes again what a plan
    needs.

    Rollouts are those that this user has on record here ('phi4-edge rollout list').

    \b
    Examples:
      phi4-edge model prune --dry-run
      phi4-edge model prune --keep 3 --older-than 30d --yes
      phi4-edge model prune --all --dry-run -o json | jq '.would_be_removed_bytes'

    \b
    Exit codes: 0 done or nothing to do, 1 usage, not confirmed, or a record that cannot be read,
    3 the store cannot be used.
    """
    from phi4_edge.operations.prune import StorePruning
    from phi4_edge.rollout.journal import state_root

    _prune.carry_out(StorePruning.look(state_root(), keep, older_than, models), dry_run, yes, output)


def _make(artifact: str, run: Callable[[Store, Any, Progress], str]) -> None:
    """Run something that makes `artifact`, show its progress on stderr, and print what there is afterwards."""
    from phi4_edge.artifacts.store.store import Store
    from phi4_edge.data import load_catalog
    from phi4_edge.view.telling import teller
    from phi4_edge.view.view import progress_view

    store = Store()
    with progress_view() as view:
        digest = run(store, load_catalog(), teller(view))
    folder = store.path(digest)
    size = store.manifest(artifact).size
    click.echo(f"{artifact}  {size_of(size)}  {digest[:12]}")
    click.echo(cut(f"in {folder}", 400), err=True)
