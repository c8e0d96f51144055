"""What core knows of one engine: an entry of `table.ENGINES`, written in a module of the engine's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.facts.model import Gpu
from phi4_edge.core.layout import Layout

Plan = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the unit itself, and why it is set."""

    name: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Native:
    """How it runs under systemd: what is started, its environment, how far it can be closed in; times in seconds.

    `start`: the command, given the release's directory. `settings`: its environment file. `rehearsal`: what that says
    differently in a rehearsal, given its port on loopback. `reads`: what it must be able to read although all else
    where installations lie is hidden. `start_seconds`: until READY=1, most of it to read the model from a slow card.
    `stop_seconds`: longer than the engine lets running answers finish. `watchdog_seconds`: without a sign of life for
    so long it is killed and restarted; 0: never. `hopeless_status`: exit status after which starting again cannot help;
    0: none. `one_port`: it listens on its port and on no other. `handed`: systemd can hand it its port. `files`: that
    it may have open, connections among them. `groups`, `devices`: what it needs for a GPU. `oom_policy`: stop or
    continue, where one of its processes was killed for want of memory. `keeps`: the directory below /var/cache that is
    its own and outlasts it, "" for none.
    """

    type: str
    start: Callable[[str], tuple[str, ...]]
    settings: Callable[[Plan, str], dict[str, str]]
    rehearsal: Callable[[int], dict[str, str]]
    reads: Callable[[Layout], tuple[str, ...]]
    variables: tuple[Variable, ...]
    start_seconds: int
    stop_seconds: int
    files: int
    oom_policy: str
    watchdog_seconds: int = 0
    hopeless_status: int = 0
    one_port: bool = False
    handed: bool = False
    groups: Callable[[Plan], tuple[str, ...]] = lambda _plan: ()
    devices: tuple[str, ...] = ()
    keeps: Callable[[Plan], str] = lambda _plan: ""


@dataclass(frozen=True, slots=True)
class Contained:
    """How it runs in its container; sizes as Compose writes them, times in seconds.

    `start` gives entrypoint and command, `reads` the paths that are mounted read-only. `compiles`: its home must hold
    programs too, because a kernel compiler writes and loads them there. `start_seconds`: how long it may load before a
    failed health check counts. `keeps`: directories of the host that it may write, and that outlast it.
    """

    start: Callable[[Plan, str], dict[str, Any]]
    environment: Callable[[Plan, str], dict[str, str]]
    reads: Callable[[Plan, str], list[str]]
    health: Callable[[int], list[str]]
    start_seconds: int
    stop_seconds: int
    pids: int
    tmp: str
    home: str
    compiles: bool = False
    keeps: Callable[[Plan], tuple[str, ...]] = lambda _plan: ()


@dataclass(frozen=True, slots=True)
class Serving:
    """Where an engine says how it is. `names_release`: its answer holds `status` and `release`; others only answer.

    `start_seconds`: how long the gate waits for it to be healthy. `holds`: a key that an answer of its health path has,
    "" where none is looked for. `loaded`: where one says which models are loaded that answers its health path without
    any, and loads a model with the first request only. `counts`: it counts the tokens of each key that a gateway names
    to it, and refuses a key that has used what it may in a day. `cuts_beyond`: where a prompt that is too long is cut
    in silence, the bytes of a request up to which none can be; None for an engine that refuses it.
    """

    health: str
    start_seconds: int
    names_release: bool = False
    holds: str = ""
    loaded: str = ""
    counts: bool = False
    cuts_beyond: Callable[[Plan], int] | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """What was decided for one host before its engine's own settings, which follow from it. Sizes are bytes.

    `flavour`: which of the published builds the host takes. `pool_total`: the memory that the model goes to,
    `pool_available` what of it a model may take, `unified` whether the host's programs take theirs from it too.
    `connections`, `deadline_seconds`: None for what the engine does by itself. `repacked`: the directory of weights as
    an engine's kernels read them, "" for none. `prompt_cache`: room for finished
    prompts. `model_digest`: None while the model is not made. `variants`: of the catalog and the inventory by name,
    None for one that is taken away. `made_with`: digests of what of ours things are made with.
    """

    manager: str
    accelerator: str
    flavour: str
    gpu: Gpu | None
    bind: str
    port: int
    container_port: int
    allowed_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
    connections: int | None
    deadline_seconds: int | None
    metrics: bool
    prefix_cache: bool
    repacked: str
    threads: int
    parallel: int
    queue: int
    context: int
    max_tokens: int
    kv_type: str
    kv_cache: int
    weights: int
    pool_total: int
    pool_available: int
    unified: bool
    prompt_cache: int
    served_name: str
    model_digest: str | None
    variants: Mapping[str, Any]
    made_with: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine. `name` is also that of its entry in the catalog and of its role; `doing`: what the role does.

    `knobs`: its own settings, beside threads and memory. `native`: None for one that runs in a container alone.
    `programs`: those of ours that lie in its release, `loader` and `journal` among them. `loader`: keeps its model
    loaded; `journal`: for sed, takes out what need not reach the journal; "" for none. `holds_clients`: it answers to
    the names in phi4_allowed_hosts alone. `forms_glibc`: natively it needs this glibc for answers in a form, which it
    refuses on an older one; "" for none. `refuses_to_shorten`: a question whose answer, at its longest, might not fit
    into the context is refused, where others end the answer there. `answer_tokens`: of an answer for which nobody set
    a limit; 0: what the context has room for. `gpu_first`: people expect it on a GPU, so that it is said where it runs
    on a CPU. `streams`: how many answers it gives at a time where nobody said and memory allows. `fills_slowly`: the KV
    cache of an answer takes memory only as that answer gets longer, not as the engine starts.
    """

    name: str
    doing: str
    knobs: Callable[[Deployment], dict[str, Any]]
    serving: Serving
    contained: Contained
    native: Native | None = None
    programs: tuple[str, ...] = ()
    loader: str = ""
    journal: str = ""
    holds_clients: bool = False
    forms_glibc: str = ""
    refuses_to_shorten: bool = False
    gpu_first: bool = False
    answer_tokens: int = 0
    streams: int = 1
    fills_slowly: bool = False
