"""Which engines are tried on a host: those of its plans that were asked for and fit, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from phi4_edge.core.engines.table import ENGINES
from phi4_edge.core.facts.model import HostFacts
from phi4_edge.core.plan.decide import Plan
from phi4_edge.core.plan.overrides import QUANTIZATIONS
from phi4_edge.core.text import closest
from phi4_edge.core.values import AUTO
from phi4_edge.errors import CatalogError
from phi4_edge.operations.plan import Planner, Seen

ALL = "all"


@dataclass(frozen=True)
class Asked:
    """An engine by name or `ALL`; with a quantization that one alone."""

    engine: str
    quantization: str = AUTO


@dataclass(frozen=True)
class Candidate:
    """One engine to try on a host. `bits` of a weight are its class of quality. `served`: it serves there now.

    `down_seconds`: estimate of the interruption as it takes over.
    """

    engine: str
    quantization: str
    accelerator: str
    bits: int
    served: bool = False
    down_seconds: int = 0


@dataclass(frozen=True)
class LeftOut:
    """What was asked for and is not tried, and why. `quantization` "": all of the engine's."""

    engine: str
    quantization: str
    reason: str


def asked(text: str) -> tuple[Asked, ...]:
    """What `--engines` names: engines or ENGINE:QUANTIZATION, separated by commas, or `ALL` of them.

    Raises CatalogError for a name that there is not.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    found = []
    for word in words:
        engine, colon, quantization = word.partition(":")
        if engine not in ENGINES and (engine != ALL or colon):
            known = [*ENGINES, ALL]
            raise CatalogError(f"found engine {engine!r}{closest(engine, known)}, needed some of {', '.join(known)}")
        if colon and quantization not in QUANTIZATIONS:
            hint = closest(quantization, list(QUANTIZATIONS))
            raise CatalogError(f"found quantization {quantization!r}{hint}, needed one of {', '.join(QUANTIZATIONS)}")
        found.append(Asked(engine, quantization or AUTO))
    if not found:
        raise CatalogError(f"found no engine, needed some of {', '.join((*ENGINES, ALL))}")
    return tuple(dict.fromkeys(found))


def choose(
    planner: Planner, seen: Seen, facts: HostFacts, wanted: Sequence[Asked]
) -> tuple[tuple[Candidate, ...], tuple[LeftOut, ...]]:
    """The candidates of a host that serves, what serves first, and what of the wanted is left out.

    Raises FactsError when facts cannot be used.
    """
    receipt, names, left = facts.receipt, dict[tuple[str, str], None](), []
    for one in wanted:
        found, why = _listed(planner, seen, one)
        if one.quantization == AUTO and one.engine in (ALL, receipt.engine):
            found = [(receipt.engine, receipt.quantization), *found]
        names |= dict.fromkeys(found)
        left += [LeftOut(one.engine, "", why)] if why and not found else []
    served, place = (receipt.engine, receipt.quantization), "cuda" if receipt.gpu else "cpu"
    tried = []
    for engine, quantization in sorted(names, key=lambda name: name != served):
        bits = _bits(planner, engine, quantization)
        if (engine, quantization) == served and not bits:
            # A release of another version, or what a host says that means no good: no plan is made of that.
            tried.append(Candidate(engine, quantization, place, bits, served=True))
            continue
        plan = _plan(planner, seen, engine, quantization)
        # On another accelerator it is another candidate.
        if (engine, quantization) == served and plan.accelerator in (None, place):
            tried.append(Candidate(engine, quantization, place, bits, served=True))
        elif why := "; ".join(_hindrances(plan)):
            left.append(LeftOut(engine, quantization, why))
        else:
            on, down = plan.accelerator or "", plan.switch.down_seconds
            tried.append(Candidate(engine, quantization, on, bits, down_seconds=down))
    return tuple(tried), tuple(left)


def _listed(planner: Planner, seen: Seen, one: Asked) -> tuple[list[tuple[str, str]], str]:
    """What fits the host of the candidates of its profile that are meant; why nothing does."""
    if one.quantization != AUTO:
        return [(one.engine, one.quantization)], ""
    plan = _plan(planner, seen, AUTO if one.engine == ALL else one.engine, AUTO)
    if not plan.fits or not plan.engine or not plan.quantization:
        return [], "; ".join(plan.missing) or "nothing in the catalog fits"
    profile = planner.catalog.candidates.get(plan.profile or "", ())
    if one.engine not in (ALL, *(item.engine for item in profile)):
        # Taken from the whole catalog: what the plan takes of it is enough.
        return [(plan.engine, plan.quantization)], ""
    return [(item["engine"], item["quantization"]) for item in plan.candidates if item["fits"]], ""


def _plan(planner: Planner, seen: Seen, engine: str, quantization: str) -> Plan:
    return planner.decide(replace(seen, variables={**seen.variables, **variables(engine, quantization)})).plan


def variables(engine: str, quantization: str) -> dict[str, str]:
    """What an inventory says that asks for this."""
    return {"phi4_engine": engine, "phi4_quantization": quantization}


def _bits(planner: Planner, engine: str, quantization: str) -> int:
    """Bits of a weight; 0 for what this catalog does not have, as a release of another version may."""
    known = planner.catalog.engines.get(engine)
    variant = known.variants.get(quantization) if known else None
    return variant.bits if variant else 0


def _hindrances(plan: Plan) -> Iterator[str]:
    """Why a plan is not tried: the host must be afterwards as it was, so nothing is installed there that would stay."""
    if not plan.fits:
        yield from plan.missing or ("nothing in the catalog fits",)
    elif plan.forced:
        yield "it does not fit: only phi4_force would have it"
    elif not plan.applicable:
        yield plan.not_applicable or f"{plan.engine} cannot be applied by this release"
    else:
        yield from plan.blockers
        yield from (f"{needed}, which would stay: provision the host with it instead" for needed in plan.prerequisites)
