"""Plans as text: one line per host, and why. Takes plans as `Plan.to_dict()` gives them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from phi4_edge.report.text import GB, count, gb, size_of, table, wrap

PlanDict = Mapping[str, Any]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEMORY = {"ram": "RAM", "vram": "VRAM", "unified": "unified memory"}


def overview(plans: Sequence[PlanDict], width: int) -> list[str]:
    """One line per host: what it will run and what would change."""
    head = ("HOST", "ACTION", "PROFILE", "ENGINE", "CONTEXT", "MEMORY", "TOK/S")
    columns = len(head) - (width < 100)  # the speed is in the explanation too
    return table(head[:columns], [_row(plan)[:columns] for plan in plans], width, right=(4, 5, 6))


def _row(plan: PlanDict) -> tuple[object, ...]:
    if not plan["fits"]:
        return (plan["host"], action(plan), "-", "-", "-", "-", "-")
    memory = plan["memory"]
    need = memory["need"] + (memory["os_reserve"] or 0)
    return (
        plan["host"],
        action(plan),
        plan["profile"],
        f"{plan['engine']} {plan['quantization']}",
        plan["context_length"],
        f"{need / GB:.1f}/{memory['available'] / GB:.1f} GB",
        _speed(plan["forecast"]),
    )


def action(plan: PlanDict) -> str:
    """What provision would do with the host, in one or two words."""
    if not plan["fits"]:
        return "no fit"
    if not plan["applicable"]:
        return "not yet"
    return "nothing to do" if plan["action"] == "none" else str(plan["action"])


def _speed(forecast: Mapping[str, Any] | None) -> str:
    rate = (forecast or {}).get("decode_tokens_per_second")
    if rate is None:
        return "-"
    return f"{'' if forecast and forecast.get('measured') else '~'}{rate:.3g}"


def explain(plan: PlanDict, width: int) -> list[str]:
    """Everything that one host's plan says, a topic per paragraph."""
    lines = wrap(_headline(plan), width)
    topics = _fitting_topics(plan) if plan["fits"] else [("missing", "; ".join(plan["missing"]))]
    topics += [("why", reason) for reason in plan["reasons"]]
    topics += [("blocked", blocker) for blocker in plan["blockers"]]
    topics += [("warning", warning) for warning in plan["warnings"]]
    topics += [("rejected", _rejected(entry)) for entry in plan["rejected"]]
    topics += [("also fits", _candidate(entry)) for entry in _others(plan)]
    before = ""
    for topic, text in topics:
        if not text:
            continue
        label = "" if topic == before else topic
        before = topic
        lines += wrap(text, width, first=f"  {label:<11}", rest=" " * 13)
    return lines


def _headline(plan: PlanDict) -> str:
    if plan["fits"]:
        return (
            f"{plan['host']}: {plan['profile']}, {plan['engine']} {plan['quantization']} on {plan['accelerator']}, "
            f"context {plan['context_length']}: {action(plan)}"
        )
    nearest = plan["nearest_profile"]
    return f"{plan['host']}: no fit" + (f" (nearest profile: {nearest})" if nearest else "")


def _fitting_topics(plan: PlanDict) -> list[tuple[str, str]]:
    disk, forecast = plan["disk"], plan["forecast"] or {}
    speed = _speed(forecast)
    estimate = "measured" if forecast.get("measured") else "an estimate"
    return [
        ("memory", memory_sum(plan)),
        ("disk", f"needs {gb(disk['need'])} of {gb(disk['available'])}"),
        ("speed", f"{speed.lstrip('~')} tokens/s decoding ({estimate})" if speed != "-" else ""),
        ("service", f"{plan['unit']} ({plan['service_manager']}) on {_address(plan)}"),
        ("knobs", ", ".join(_knobs(plan["knobs"] or {}))),
        ("model", _model(plan)),
        ("not yet", str(plan["not_applicable"] or "") if not plan["applicable"] else ""),
        *[("change", line) for line in changes(plan)],
    ]


def _address(plan: PlanDict) -> str:
    bind = str(plan["bind"])
    return f"[{bind}]:{plan['port']}" if ":" in bind else f"{bind}:{plan['port']}"


def memory_sum(plan: PlanDict) -> str:
    """The sum of the memory model with its parts, in GB: weights + KV cache + overhead = need, and the OS reserve."""
    memory = plan["memory"]
    parts = [("weights", memory["weights"]), ("KV cache", memory["kv_cache"]), ("overhead", memory["overhead"])]
    text = " + ".join(f"{name} {size / GB:.2f}" for name, size in parts) + f" = {memory['need'] / GB:.2f} GB"
    if memory["os_reserve"]:
        text += f", + {memory['os_reserve'] / GB:.2f} for the OS"
    how = "measured" if memory["measured"] else "estimate"
    return f"{text}; {memory['available'] / GB:.2f} GB {_MEMORY.get(memory['kind'], 'memory')} ({how})"


def _knobs(knobs: Mapping[str, Any]) -> list[str]:
    """Each knob as 'name value'; a group of settings as its members."""
    found: list[str] = []
    for name, value in knobs.items():
        if isinstance(value, Mapping):
            found += [f"{key}={item}" for key, item in value.items()]
        else:
            found.append(f"{name} {_knob(value)}")
    return found


def _knob(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and value >= 1_000_000:
        return size_of(value)
    return "-" if value is None else str(value)


def _model(plan: PlanDict) -> str:
    model = plan["model"]
    digest = model["digest"]
    held = f"sha256 {digest[:16]}" if digest else "not in the store of this controller yet"
    return f"{model['artifact']}, {size_of(model['size'])}, {held}"


def changes(plan: PlanDict) -> list[str]:
    """What would be done to the host, a line each. On a new host everything is new: one line says so."""
    if not plan["applicable"]:
        return []
    if plan["action"] == "install":
        return [f"installs release {plan['release']}"]
    return [change(entry) for entry in plan["changes"]]


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
        counts[action(plan)] = counts.get(action(plan), 0) + 1
    order = ("nothing to do", "install", "change", "repair", "not yet", "no fit")
    words = {"nothing to do": "up to date", "install": "to install", "change": "to change", "repair": "to repair"}
    parts = [f"{counts[name]} {words.get(name, name)}" for name in order if name in counts]
    parts += [f"{without} without a plan"] if without else []
    return f"{count(len(plans) + without, 'host')}: {', '.join(parts)}"
