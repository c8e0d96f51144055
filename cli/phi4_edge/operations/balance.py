"""Balancers in front of a fleet's gateways: which gateways each has, and what became of its host."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from phi4_edge.artifacts.store.images import Images
from phi4_edge.artifacts.store.store import Store
from phi4_edge.core.gateway import certificate
from phi4_edge.core.inventory import BALANCERS, EVERYWHERE, Host
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.core.release import balancer_unit
from phi4_edge.core.text import closest
from phi4_edge.core.values import optional_line
from phi4_edge.errors import InventoryError
from phi4_edge.operations.fleet import Fleet
from phi4_edge.operations.plan import Planner
from phi4_edge.operations.rollout import lock_variables, new_id
from phi4_edge.report.text import count
from phi4_edge.rollout.apply import Play, apply
from phi4_edge.rollout.interrupt import Interrupts
from phi4_edge.rollout.result import HostResult, Outcome
from phi4_edge.runner.executor import Local
from phi4_edge.view.view import View

_OF, _SHOWN = "phi4_balancer_of", "phi4_balancer_client_certificate"
Plans = Mapping[str, Mapping[str, Any]]


def serve(fleet: Fleet, view: View, *, check: bool) -> tuple[list[HostResult], bool]:
    """Every balancer serves its gateways as they are now; the hosts' results, and whether Ctrl-C was pressed.

    Nothing is changed where one of the gateways cannot be looked at: the balancer would do without it. Raises
    InventoryError for a fleet that has no balancer, or gateways that cannot be behind one.
    """
    behind = {host.name: gateways_of(fleet, host) for host in _balancers(fleet)}
    needed = fleet.only({one.name for gateways in behind.values() for one in gateways})
    with Interrupts(on_first=lambda: view.note("stopping; Ctrl-C again stops at once")) as interrupts:
        seen = needed.survey(view, interrupts)
        store = Store()
        planned, troubles = needed.decide(Planner(store.digests(), Images(store).digests()), seen)
        if problems := [*seen.problems, *troubles]:
            why = f"left as it is: {problems[0].host} could not be looked at"
            step = f"put that right, or leave it out: --limit 'all,!{problems[0].host}'"
            return [*problems, *(HostResult(name, Outcome.UNTOUCHED, why, step) for name in behind)], False
        plans = {name: found.plan.to_dict() for name, found in planned.items()}
        done: list[HostResult] = []
        for host in fleet.balancers:
            variables = _variables(behind[host.name], plans)
            _require_shown(host.name, fleet.variables(host), [plans[one.name] for one in behind[host.name]])
            view.phase(f"{host.name}: one address for {count(len(behind[host.name]), 'gateway')}")
            done += _played(fleet, [host], {"balancer_do": "serve", **variables}, interrupts, view, check)
    return done, interrupts.stopping


def play(fleet: Fleet, view: View, variables: Mapping[str, Any]) -> tuple[list[HostResult], bool]:
    """The role did with every balancer what its variables say; the hosts' results, and whether Ctrl-C was pressed."""
    with Interrupts(on_first=lambda: view.note("stopping; Ctrl-C again stops at once")) as interrupts:
        return _played(fleet, _balancers(fleet), variables, interrupts, view, False), interrupts.stopping


def _played(
    fleet: Fleet,
    hosts: Sequence[Host],
    variables: Mapping[str, Any],
    interrupts: Interrupts,
    view: View,
    check: bool,
) -> list[HostResult]:
    lock = lock_variables(new_id(), "balance", 0)
    asked = Play("balance", dict(variables), check=check, lock=lock)
    done = apply(Local(fleet.access), asked, [host.name for host in hosts], interrupts, view.event)
    for result in done:
        view.finished(result.host, str(result.outcome))
    return list(done)


def _balancers(fleet: Fleet) -> tuple[Host, ...]:
    if not fleet.balancers:
        raise InventoryError(
            f"found no balancer, needed a host in the group {BALANCERS}: add one to the inventory; see docs/balancer.md"
        )
    return fleet.balancers


def gateways_of(fleet: Fleet, balancer: Host) -> list[Host]:
    """The gateways of a balancer."""
    group = optional_line(fleet.variables(balancer).get(_OF))
    members = [host for host in fleet.hosts if not group or group in host.groups]
    if group and not members:
        known = sorted({name for host in fleet.hosts for name in host.groups})
        raise InventoryError(
            f"{balancer.name}: found {_OF}={group}{closest(group, known)}, needed a group of gateways: "
            f"{', '.join(known[:20]) or 'there is none'}"
        )
    found = [host for host in members if Overrides.from_vars(host.name, fleet.variables(host)).gateway]
    if not found:
        raise InventoryError(
            f"{balancer.name}: found no host with phi4_gateway=true{f' in {group}' if group else ''}, needed a gateway "
            "for it to lead to: set phi4_gateway=true there, and provision"
        )
    return found


def _variables(gateways: Sequence[Host], plans: Plans) -> dict[str, Any]:
    """What the role is told of a balancer's gateways. Raises InventoryError for some that cannot be behind one."""
    listed = [(plans[host.name], _address(host, plans), _verified(host, plans)) for host in gateways]
    for plan, *_ in listed:
        if not plan["fits"] or plan["gateway"] is None:
            raise InventoryError(f"{plan['host']}: found no plan that fits, needed one: see 'phi4-edge plan'")
    models = sorted({str(plan["model"]["served_name"]) for plan, *_ in listed})
    if len(models) > 1:
        raise InventoryError(
            f"found gateways that serve different models ({', '.join(models)}), needed one behind an address: name the "
            f"group of those that belong together in {_OF}"
        )
    longest = max(plan["gateway"]["answer_seconds"] for plan, *_ in listed)
    upstreams = balancer_unit.upstreams(listed)
    return {
        "balancer_gateways": [dataclasses.asdict(one) for one in upstreams],
        # The gateway's own queue comes before the engine, which may say nothing for so long.
        "balancer_answer_seconds": longest + balancer_unit.QUEUE_SECONDS,
    }


def _require_shown(name: str, variables: Mapping[str, Any], plans: Sequence[Mapping[str, Any]]) -> None:
    """Raises InventoryError where gateways want a certificate that their balancer has not got."""
    asking = [plan["host"] for plan in plans if plan["gateway"]["client_certificates"]]
    if asking and not optional_line(variables.get(_SHOWN)):
        raise InventoryError(
            f"{name}: found gateways that want a certificate of clients ({', '.join(asking[:20])}) and no {_SHOWN}, "
            "needed a PEM file with a certificate of their phi4_gateway_client_ca and its key: see docs/balancer.md"
        )


def _address(host: Host, plans: Plans) -> str:
    """The IP address at which others reach a gateway."""
    bind = str((plans[host.name]["gateway"] or {}).get("bind") or "")
    if bind and bind not in EVERYWHERE:
        return bind
    try:
        return str(ipaddress.ip_address(host.address or host.name))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(host.address or host.name, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise InventoryError(
            f"{host.name}: found no address of {host.address or host.name} ({error}), needed one at which "
            "balancers reach it: set ansible_host or phi4_bind to it"
        ) from error


def _verified(host: Host, plans: Plans) -> str:
    """The name that a gateway's certificate must have, "" where it has none."""
    asked = plans[host.name]["gateway"]
    if asked is None or not asked["tls"]:
        return ""
    more = Overrides.from_vars(host.name, host.vars).gateway_names
    named = certificate.names(host.name, host.address, asked["bind"], more)
    for name in named:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name
    raise InventoryError(
        f"{host.name}: found only addresses for its certificate ({', '.join(named)}), needed a name, by which a "
        f"balancer knows it: give one in phi4_gateway_names, such as gw1.example"
    )
