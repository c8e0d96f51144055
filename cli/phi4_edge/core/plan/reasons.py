"""The sentences of a plan: reasons, warnings of its own, and what is missing where nothing fits."""

from __future__ import annotations

import ipaddress

from phi4_edge.core.catalog.table import ResourceTable
from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.judge import driver, gpu
from phi4_edge.core.plan.choose import Attempt, Choice, Evaluation, nearest
from phi4_edge.core.plan.context import Chosen
from phi4_edge.core.plan.overrides import LISTED, MEMORY, Overrides
from phi4_edge.core.plan.sizing import LONGROPE_FROM, images_guessed
from phi4_edge.core.text import clean, gb, gib, version_of

REBOOT = "the host needs a reboot"
# 36 tools in 24.9 kB, sent with each question; beside them a question and its answer need room.
PAGE_TOOLS_TOKENS, PAGE_TOOLS_CONTEXT = 6000, 8192
# Warnings that come and go while nobody changes the host or what is planned for it.
PASSING = frozenset({REBOOT})
_HOLD = " or ".join(name for name, engine in ENGINES.items() if engine.holds_clients)


def reasons(
    facts: HostFacts, table: ResourceTable, choice: Choice, attempt: Attempt, chosen: Evaluation, prefer: str = LISTED
) -> tuple[str, ...]:
    """Return why this profile and this candidate, with numbers; first what became of the GPU."""
    profile, sizing, pool = attempt.profile, chosen.sizing, chosen.pool
    found = list(_gpu_passed_over(choice, attempt))
    if facts.nvidia.gpus:
        found += [f"not used: {'; '.join(gpu.unusable(one))}" for one in facts.nvidia.unusable]
    found.append(
        f"{profile.name}: RAM {gib(facts.ram_bytes)} of {profile.minimum_ram:g} GB wanted "
        f"({gib(table.counts_from(profile.minimum_ram))} counts as that)"
    )
    if attempt.gpu is not None:
        found.append(f"GPU {attempt.gpu.name}, {_gpu_memory(attempt)}{_more_gpus(choice, facts)}")
    found.append(
        f"{chosen.candidate.label}: needs {gb(sizing.need)} with context {sizing.context} and KV {sizing.kv_type}"
        f"{_times(sizing.parallel)}, {gb(pool.usable)} usable"
    )
    found += _preferred(attempt, prefer)
    if (sizing.context, sizing.kv_type) != (chosen.full.context, chosen.full.kv_type):
        found.append(
            f"context {chosen.full.context} with KV {chosen.full.kv_type} would need {gb(chosen.full.need)}: too much"
        )
    return (*found, *_set_aside(facts), *_of_cpus(facts))


def _times(parallel: int) -> str:
    """Return for how many answers at a time a need is, where it is not one."""
    return f" for {parallel} answers at a time" if parallel > 1 else ""


def _preferred(attempt: Attempt, prefer: str) -> tuple[str, ...]:
    """Return in which order the candidates were tried, and what by, where that is not as they are listed."""
    if prefer == LISTED or len(attempt.evaluations) < 2:
        return ()
    named = [(item, item.candidate.label) for item in attempt.evaluations]
    if prefer == MEMORY:
        return (f"phi4_prefer memory: {', '.join(f'{label} ({gb(item.sizing.need)})' for item, label in named)}",)
    said = [f"{label} ({_speed(item)}, {item.variant.bits} bits)" for item, label in named]
    return (f"phi4_prefer speed, within as many bits of a weight: {', '.join(said)}",)


def _speed(item: Evaluation) -> str:
    rate = item.forecast.decode_tokens_per_second
    how = "measured" if item.forecast.measured else "forecast"
    return "speed unknown" if rate is None else f"{rate:.3g} tokens/s {how}"


def _set_aside(facts: HostFacts) -> tuple[str, ...]:
    """Return what of its memory the machine has and no engine gets, or ()."""
    found = []
    if facts.ram_by:
        found.append(
            f"a cgroup limits the {gib(facts.mem_total)} of the machine to {gib(facts.ram_bytes)}: {facts.ram_by}"
        )
    if facts.huge_pages:
        found.append(
            f"{gib(facts.huge_pages)} of the machine's {gib(facts.mem_total)} of RAM are set aside as huge pages "
            "(vm.nr_hugepages, or hugepages= of the kernel), which no engine can use"
        )
    return tuple(found)


def _of_cpus(facts: HostFacts) -> tuple[str, ...]:
    """Return which limit leaves an engine fewer threads than the machine has cores for, or ()."""
    cpu, found = facts.cpu, []
    if cpu.cpuset_by:
        found.append(f"a cgroup leaves {cpu.processors} processors to use: {cpu.cpuset_by}")
    if cpu.quota is not None and cpu.usable_cores < cpu.fast_cores:
        found.append(
            f"a cgroup limits {cpu.fast_cores} cores to the time of {cpu.quota:g}, hence {cpu.usable_cores} threads: "
            f"{cpu.quota_by}"
        )
    return tuple(found)


def warnings(it: Chosen) -> tuple[str, ...]:
    """Return what an operator should know although the plan can be applied."""
    facts, table, overrides = it.facts, it.table, it.overrides
    choice, attempt, chosen = it.choice, it.attempt, it.evaluation
    profile = attempt.profile
    found = [f"forced: {reason}" for reason in choice.overruled]
    if not table.has(facts.ram_bytes, profile.recommended_ram):
        found.append(f"RAM {gib(facts.ram_bytes)} is below the {profile.recommended_ram:g} GB recommended")
    if attempt.gpu is not None and not table.has(attempt.gpu.memory_total, profile.recommended_vram):
        found.append(f"VRAM {_gpu_memory(attempt)} is below the {profile.recommended_vram:g} GB recommended")
    if chosen.sizing.context > LONGROPE_FROM:
        found.append(
            f"context {chosen.sizing.context} is above {LONGROPE_FROM}: LongRoPE's long factors then apply to prompts "
            "of any length, and short prompts lose some quality"
        )
    if not ipaddress.ip_address(overrides.engine_bind).is_loopback:
        found.append(f"binds {overrides.bind}: whoever reaches port {overrides.port} can use the model, without a key")
    if overrides.allowed_hosts and not ENGINES[it.engine.name].holds_clients:
        found.append(f"phi4_allowed_hosts has no effect: only {_HOLD} checks names, {it.engine.name} does not")
    if not ENGINES[it.engine.name].holds_clients:
        found += [f"{name} has no effect: only {_HOLD} has that setting" for name in _asked_of_ours(overrides)]
    if overrides.repacked and ENGINES[it.engine.name].holds_clients and it.manager != "systemd":
        found.append(f"phi4_repacked has no effect under {it.manager}: the container reads the model itself")
    found += _forms(it)
    if overrides.webui_enabled and overrides.webui_builtin_tools and chosen.sizing.context < PAGE_TOOLS_CONTEXT:
        found.append(
            f"webui_builtin_tools: the page's tools take about {PAGE_TOOLS_TOKENS} tokens of every question, context "
            f"{chosen.sizing.context} has no room for them; set phi4_context_length to {PAGE_TOOLS_CONTEXT} or more"
        )
    found += [f"nvidia-smi: {remark}" for remark in facts.nvidia.remarks]
    if driver.is_asked(facts, overrides) and not driver.wanted(facts, it.catalog, overrides):
        why = driver.hindrance(facts, it.catalog, overrides)
        found.append(f"{driver.VARIABLE} has no effect, no driver is installed: {why}")
    found += _unmeasured(it) if it.images else []
    if facts.reboot_required:
        found.append(REBOOT)
    found += [f"{name} was too long to read in full; its end is ignored" for name in facts.truncated]
    return tuple(found)


def _forms(it: Chosen) -> list[str]:
    """Return what clients are refused where the host's C library is too old for it."""
    needed, found = ENGINES[it.engine.name].forms_glibc, it.facts.libc.version
    if not needed or it.manager != "systemd" or version_of(found) >= version_of(needed):
        return []
    return [
        f"glibc {found}: JSON answers (response_format) and forced or strict tool calls need {needed}, and "
        f"{it.engine.name} refuses them with 400; phi4_service_manager=compose brings its own"
    ]


def _asked_of_ours(overrides: Overrides) -> list[str]:
    """Return the variables that the inventory sets and that only an engine of ours has."""
    asked = {
        "phi4_cors_origins": bool(overrides.cors_origins),
        "phi4_connections": overrides.connections is not None,
        "phi4_deadline_seconds": overrides.deadline_seconds is not None,
        "phi4_metrics": not overrides.metrics,
        "phi4_prefix_cache": not overrides.prefix_cache,
        "phi4_repacked": overrides.repacked,
    }
    return [name for name, given in asked.items() if given]


def _unmeasured(it: Chosen) -> list[str]:
    """Return why images may go where nobody measured."""
    found = [images_guessed(it.facts)] if it.facts.images.guessed else []
    wanted, measured = it.overrides.docker_root, it.facts.images.path
    if wanted not in ("", measured) and not it.facts.containerd_store:
        found.append(
            f"phi4_docker_daemon sets data-root {clean(wanted, 200)}, whose room was not measured, but that of "
            f"{measured}: set it in /etc/docker/daemon.json on the host before"
        )
    return found


def no_fit_reasons(choice: Choice) -> tuple[str, ...]:
    """Return one sentence for each profile that was looked at."""
    return tuple(f"{attempt.profile.name}: {_why(attempt)}" for attempt in choice.attempts)


def missing(facts: HostFacts, choice: Choice, overrides: Overrides) -> tuple[str, ...]:
    """Return what the nearest profile lacks, with numbers, and the way out where one was asked for."""
    closest = nearest(choice)
    found = [*([closest.blocked] if closest.blocked else []), *closest.lacks]
    impossible = bool(closest.evaluations) and all(item.verdict.reasons for item in closest.evaluations)
    if impossible:
        found += _shared([(item, item.verdict.reasons) for item in closest.evaluations])
    elif not closest.lacks:
        found += _shared([(item, item.reasons) for item in closest.evaluations])
    found += _set_aside(facts)
    if overrides.asks:
        found.append(f"asked for: {', '.join(overrides.asks)}")
        if closest.forced is not None and not overrides.force:
            found.append("phi4_force: true tries it anyway")
    return tuple(dict.fromkeys(found))


def _shared(listed: list[tuple[Evaluation, tuple[str, ...]]]) -> list[str]:
    """Return all reasons, those that every candidate has only once and without its name."""
    common = [reason for reason in listed[0][1] if all(reason in reasons for _, reasons in listed)] if listed else []
    own = [f"{item.candidate.label}: {why}" for item, reasons in listed for why in reasons if why not in common]
    return [*common, *own]


def _why(attempt: Attempt) -> str:
    if attempt.blocked:
        return attempt.blocked
    if attempt.lacks:
        return "; ".join(attempt.lacks)
    return "; ".join(_shared([(item, item.reasons) for item in attempt.evaluations]))


def _gpu_passed_over(choice: Choice, chosen: Attempt) -> tuple[str, ...]:
    """Return why each GPU that is there and was tried in vain is not used."""
    found = []
    for attempt in choice.attempts:
        if attempt is chosen or attempt.profile.accelerator != "cuda" or attempt.blocked == gpu.NO_GPU:
            continue
        owner = f"{attempt.gpu.name} is not used: " if attempt.gpu is not None else ""
        found.append(f"{owner}{_why(attempt)}")
    return tuple(found)


def _gpu_memory(attempt: Attempt) -> str:
    assert attempt.gpu is not None  # noqa: S101
    shared = " shared with the host" if attempt.gpu.unified else ""
    return f"{gib(attempt.gpu.memory_total)}{shared}"


def _more_gpus(choice: Choice, facts: HostFacts) -> str:
    usable = len(facts.nvidia.gpus)
    # The others were tried first where they have more.
    most = (
        "" if any(attempt.gpu is not None for attempt in choice.attempts[:-1]) else "the one with most free memory of "
    )
    return f" ({most or 'one of '}{usable})" if usable > 1 else ""
