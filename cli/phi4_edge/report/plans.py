"""Plans as text: one line per host, and why. Takes plans as `Plan.to_dict()` gives them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from phi4_edge.core.rollout import words
from phi4_edge.report.text import GB, count, gb, size_of, table, wrap

PlanDict = Mapping[str, Any]

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Changes to a digest, and the part of a plan that has it. That it is not known yet is said once, with the release.
_DIGESTS = {"model digest": "model", "engine files": "runtime", "image digest": "image"}
_SPEEDS = {
    "bench": "measured on this host",
    "sample": "from the memory bandwidth sampled on this host",
    "board": "from what its board, CPU or GPU is known for",
    "class": "from its class of CPU",
}
_MEMORY = {"ram": "RAM", "vram": "VRAM", "unified": "unified memory"}


def overview(plans: Sequence[PlanDict], width: int) -> list[str]:
    """One line per host: what it will run and what would change."""
    head = ("HOST", "ACTION", "PROFILE", "ENGINE", "CONTEXT", "MEMORY", "TOK/S")
    columns = len(head) - (width < 100)  # the speed is in the explanation too
    return table(head[:columns], [_row(plan)[:columns] for plan in plans], width, right=(4, 5, 6))


def _row(plan: PlanDict) -> tuple[object, ...]:
    if not plan["fits"]:
        return (plan["host"], words.action(plan), "-", "-", "-", "-", "-")
    memory = plan["memory"]
    need = memory["need"] + (memory["os_reserve"] or 0)
    return (
        plan["host"],
        words.action(plan),
        plan["profile"],
        f"{plan['engine']} {plan['quantization']}",
        plan["context_length"],
        f"{need / GB:.1f}/{memory['available'] / GB:.1f} GB",
        _speed(plan["forecast"]),
    )


def _speed(forecast: Mapping[str, Any] | None) -> str:
    rate = (forecast or {}).get("decode_tokens_per_second")
    if rate is None:
        return "-"
    figure = f"{rate:.3g}" if rate < 1000 else f"{rate:.0f}"
    return figure if forecast and forecast.get("measured") else f"~{figure}"


def _from(forecast: Mapping[str, Any]) -> str:
    """What the figure comes from, and by how much it may be off."""
    source = forecast.get("source", "")
    sampled = f", {forecast['bandwidth'] / GB:.3g} GB/s" if source == "sample" and forecast.get("bandwidth") else ""
    share = forecast.get("uncertainty")
    off = f"forecast, off by up to {share:.0%}, " if share else ""
    return f"{off}{_SPEEDS.get(source, 'an estimate')}{sampled}"


def explain(plan: PlanDict, width: int) -> list[str]:
    """Everything that one host's plan says, a topic per paragraph."""
    lines = wrap(words.planned(plan), width)
    before = ""
    for topic, text in topics(plan):
        label = "" if topic == before else topic
        before = topic
        lines += wrap(text, width, first=f"  {label:<11}", rest=" " * 13)
    return lines


def topics(plan: PlanDict) -> list[tuple[str, str]]:
    """What one host's plan says, as (topic, text); neither cleaned nor cut, and a topic may have several texts."""
    found = _fitting_topics(plan) if plan["fits"] else [("missing", "; ".join(plan["missing"]))]
    # A reason that is a warning too is told once.
    found += [("why", reason) for reason in plan["reasons"] if reason not in plan["warnings"]]
    found += [("blocked", blocker) for blocker in plan["blockers"]]
    found += [("warning", warning) for warning in plan["warnings"]]
    found += [("rejected", _rejected(entry)) for entry in plan["rejected"]]
    found += [("also fits", _candidate(entry)) for entry in _others(plan)]
    return [(topic, text) for topic, text in found if text]


def _fitting_topics(plan: PlanDict) -> list[tuple[str, str]]:
    disk, forecast = plan["disk"], plan["forecast"] or {}
    speed = _speed(forecast)
    return [
        ("memory", memory_sum(plan)),
        ("disk", f"needs {gb(disk['need'])} of {gb(disk['available'])}, keeps at most {gb(disk['kept'])}"),
        ("speed", f"{speed.lstrip('~')} tokens/s decoding ({_from(forecast)})" if speed != "-" else ""),
        ("gateway", _gateway(plan)),
        ("service", f"{plan['unit']} ({plan['service_manager']}) on {_address(plan)}"),
        ("knobs", ", ".join(_knobs(plan["knobs"] or {}))),
        ("model", _model(plan)),
        ("engine", _engine_files(plan["runtime"])),
        ("image", _image(plan["image"], plan)),
        ("web page", _webui(plan)),
        ("steps", ", ".join(plan["steps"])),
        *[("first", text) for text in plan["prerequisites"]],
        ("switch", _switch(plan)),
        ("not yet", str(plan["not_applicable"] or "") if not plan["applicable"] else ""),
        *[("change", line) for line in changes(plan)],
    ]


def _address(plan: PlanDict) -> str:
    bind = str(plan["bind"])
    return f"[{bind}]:{plan['port']}" if ":" in bind else f"{bind}:{plan['port']}"


def memory_sum(plan: PlanDict) -> str:
    """The sum of the memory model with its parts, in GB, and the OS reserve."""
    memory = plan["memory"]
    parts = [("weights", memory["weights"]), ("KV cache", memory["kv_cache"]), ("overhead", memory["overhead"])]
    prompts, beside = memory["prompt_cache"], memory["kind"] == "vram"
    parts += [("kept prompts", prompts)] if prompts and not beside else []
    text = " + ".join(f"{name} {size / GB:.2f}" for name, size in parts) + f" = {memory['need'] / GB:.2f} GB"
    if memory["os_reserve"]:
        text += f", + {memory['os_reserve'] / GB:.2f} for the OS"
    if prompts and beside:
        text += f", and {prompts / GB:.2f} GB of RAM for kept prompts"
    how = "measured" if memory["measured"] else "estimate"
    return f"{text}; {memory['available'] / GB:.2f} GB {_MEMORY.get(memory['kind'], 'memory')} ({how})"


def _engine_files(runtime: Mapping[str, Any] | None) -> str:
    """The files of an engine that runs natively; those for the host's Python have no name of their own."""
    if runtime is None:
        return ""
    name = runtime["artifact"] or f"made for Python {runtime['python']} on {runtime['arch']}"
    return f"{name}, {_held(runtime['digest'])}"


def _image(image: Mapping[str, Any] | None, plan: PlanDict) -> str:
    if image is None:
        return ""
    mirror = plan["image_mirror"]
    source = f"through {mirror}" if mirror else "from its registry"
    ours = str(image["repository"]).startswith("phi4-edge/")
    how = "pushed to the host" if ours or plan["image_delivery"] == "push" else f"pulled by the host {source}"
    cuda = f", CUDA {image['cuda']}" if image["cuda"] else ""
    digest = str(image["digest"] or "")
    held = f"sha256 {digest.removeprefix('sha256:')[:16]}" if digest else "not pinned by this controller yet"
    return f"{image['repository']}:{image['tag']} for {image['architecture']}{cuda}, {held}, {how}"


def _webui(plan: PlanDict) -> str:
    page = plan["webui"]
    return f"http://{page['bind']}:{page['port']} on the host, {_image(page['image'], plan)}" if page else ""


def _gateway(plan: PlanDict) -> str:
    gateway = plan.get("gateway")
    if not gateway:
        return ""
    how = "TLS" if gateway["tls"] else "without TLS"
    how += " and certificates of clients" if gateway["client_certificates"] else ""
    waiting = count(gateway["queue"], "request")
    return f"HAProxy on {gateway['bind']}:{gateway['port']}, {how}, with keys, {waiting} may wait"


def _switch(plan: PlanDict) -> str:
    switch = plan["switch"]
    return f"{switch['mode']}: {switch['reason']}" if switch["mode"] in ("beside", "down") else ""


def _held(digest: str | None) -> str:
    return f"sha256 {digest[:16]}" if digest else "not in the store of this controller yet"


def _knobs(knobs: Mapping[str, Any]) -> list[str]:
    """Each knob as 'name value'; a group of settings as its members, and one of records as their names."""
    found: list[str] = []
    for name, value in knobs.items():
        if isinstance(value, Mapping) and all(isinstance(item, Mapping) for item in value.values()):
            found += [f"{name} {' '.join(value)}"] if value else []
        elif isinstance(value, Mapping):
            found += [f"{key}={item}" for key, item in value.items()]
        elif value is not None:
            found.append(f"{name} {_knob(value)}")
    return found


def _knob(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and value >= 1_000_000:
        return size_of(value)
    return str(value)


def _model(plan: PlanDict) -> str:
    model = plan["model"]
    return f"{model['artifact']}, {size_of(model['size'])}, {_held(model['digest'])}"


def changes(plan: PlanDict) -> list[str]:
    """What would be done to the host, a line each. On a new host everything is new: one line says so."""
    if not plan["applicable"]:
        return []
    named = plan["release"] or unnamed(plan)
    if plan["action"] == "install":
        return [f"installs release {named}" if plan["release"] else f"installs {named}"]
    return [
        f"release: {_short(entry['before'])} -> {named}" if entry["what"] == "release" else change(entry)
        for entry in plan["changes"]
        if entry["after"] is not None or not plan.get(_DIGESTS.get(entry["what"], ""))
    ]


def unnamed(plan: PlanDict) -> str:
    """What is said instead of the name of a release that has none yet."""
    return f"a release that gets its name when its files are here ({', '.join(plan['awaits'])})"


def change(entry: Mapping[str, Any]) -> str:
    """One entry of `changes` as 'port: 8080 -> 9000'."""
    return f"{entry['what']}: {_short(entry['before'])} -> {_short(entry['after'])}"


def _short(value: object) -> str:
    """A value as a word; of a SHA-256 the first digits, which is how people compare them."""
    text = "-" if value is None else str(value)
    return text[:12] if _SHA256.fullmatch(text) else text


def _rejected(entry: Mapping[str, Any]) -> str:
    name = " ".join(str(entry[key]) for key in ("engine", "quantization") if entry.get(key))
    profile = entry.get("profile")
    label = f"{name} ({profile})" if name and profile else name or str(profile)
    return f"{label}: {entry['reason']}"


def _others(plan: PlanDict) -> list[Mapping[str, Any]]:
    chosen = (plan["engine"], plan["quantization"])
    return [c for c in plan["candidates"] if c["fits"] and (c["engine"], c["quantization"]) != chosen]


def _candidate(entry: Mapping[str, Any]) -> str:
    speed = _speed(entry)
    rate = f", {speed} tokens/s" if speed != "-" else ""
    return f"{entry['engine']} {entry['quantization']}: {gb(entry['need'])}{rate}"


def totals(plans: Sequence[PlanDict], without: int = 0) -> str:
    """One sentence: how many hosts are up to date, would change, do not fit; `without` is how many have no plan."""
    counts: dict[str, int] = {}
    for plan in plans:
        counts[words.action(plan)] = counts.get(words.action(plan), 0) + 1
    order = ("nothing to do", "install", "change", "repair", "not yet", "no fit")
    counted = {"nothing to do": "up to date", "install": "to install", "change": "to change", "repair": "to repair"}
    parts = [f"{counts[name]} {counted.get(name, name)}" for name in order if name in counts]
    parts += [f"{without} without a plan"] if without else []
    return f"{count(len(plans) + without, 'host')}: {', '.join(parts)}"
