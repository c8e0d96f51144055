"""What Prometheus is told of a fleet: a target for each gateway, and how all of them are scraped."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from phi4_edge.core.inventory import EVERYWHERE, Host
from phi4_edge.core.layout import LOOPBACK
from phi4_edge.core.text import printable
from phi4_edge.core.values import address, flag, optional_line, whole

JOB = "phi4-edge"
TARGETS, RULES, CONFIGURATION = "targets.json", "alerts.yml", "prometheus.yml"
# Beside the configuration, unless the operator says otherwise.
KEY_FILE, CA_FILE = "metrics.key", "ca.pem"
CERTIFICATE_FILE, CERTIFICATE_KEY_FILE = "client.pem", "client.key"
INTERVAL = "15s"
GATEWAY_PORT = 8443
# Each value of a label is a series of its own for as long as Prometheus keeps it.
MOST_GROUPS, LONGEST = 10, 64


@dataclass(frozen=True, slots=True)
class Target:
    """One gateway: where it is scraped, and what its series are called. `groups`: those of the inventory.

    `certified`: whether its clients need a certificate.
    """

    place: str
    host: str
    groups: tuple[str, ...] = ()
    tls: bool = True
    certified: bool = False

    def labels(self) -> dict[str, str]:
        """The labels of all its series; groups have commas around each, so that one is found by `,name,`."""
        found = {"host": _bounded(self.host)}
        if not self.tls:
            found["__scheme__"] = "http"
        if self.groups:
            found["groups"] = f",{','.join(_bounded(each) for each in sorted(self.groups)[:MOST_GROUPS])},"
        return found


def target(host: Host, variables: Mapping[str, Any]) -> Target | str:
    """Return where a host's gateway is scraped, or why it is not. Raises ValueError for a variable that cannot be.

    `variables`: its `phi4_*` ones, with those of the command line over them.
    """
    if not _read(variables, "phi4_gateway", flag, False):
        return "it has no gateway: set phi4_gateway=true"
    bind = _read(variables, "phi4_bind", address, LOOPBACK)
    port = _read(variables, "phi4_gateway_port", whole(1, 65535), GATEWAY_PORT)
    if bind not in EVERYWHERE and ipaddress.ip_address(bind).is_loopback:
        return f"its gateway listens on {bind} alone: set phi4_bind to an address that Prometheus reaches"
    where = host.address or host.name if bind in EVERYWHERE else bind
    tls = _read(variables, "phi4_gateway_tls", flag, True)
    place = f"[{where}]:{port}" if ":" in where else f"{where}:{port}"
    certified = bool(_read(variables, "phi4_gateway_client_ca", optional_line, ""))
    return Target(place, host.name, host.groups, tls, certified)


def _read(variables: Mapping[str, Any], name: str, check: Any, default: Any) -> Any:
    try:
        return check(variables[name]) if variables.get(name) is not None else default
    except ValueError as error:
        raise ValueError(f"{name}: found {printable(str(variables[name]))[:80]!r}, needed {error}") from None


def _bounded(text: str) -> str:
    return printable(text, lines=False)[:LONGEST]


def targets_file(targets: Iterable[Target]) -> str:
    """Return the document of `file_sd_configs`: an entry for each target, in the order of the hosts' names."""
    found = sorted(targets, key=lambda each: each.host)
    return json.dumps([{"targets": [each.place], "labels": each.labels()} for each in found], indent=2) + "\n"


_SHOWN = """\
      # What the gateways are shown, for they want a certificate of clients (phi4_gateway_client_ca).
      cert_file: {}
      key_file: {}
"""


def configuration(key_file: str = KEY_FILE, ca_file: str = CA_FILE, shown: tuple[str, str] | None = None) -> str:
    """Return a configuration of Prometheus with these gateways and alerts alone; paths count from its own folder.

    `shown`: the files of a client's certificate and of its key, for gateways that want one.
    """
    certificate = "" if shown is None else _SHOWN.format(*map(json.dumps, shown))
    return f"""\
# What Prometheus needs for the gateways of phi4-edge. Use it as it is, or add its parts to a configuration of your own.
rule_files:
  - {RULES}
scrape_configs:
  - job_name: {JOB}
    scheme: https
    metrics_path: /metrics
    scrape_interval: {INTERVAL}
    scrape_timeout: 10s
    # The most that a gateway may send; one that sends more counts as down.
    body_size_limit: 4MB
    sample_limit: 8000
    label_value_length_limit: 300
    authorization:
      # The key alone, as `phi4-edge key add INVENTORY metrics` showed it.
      credentials_file: {json.dumps(key_file)}
    tls_config:
      # The certificates that the gateways' own are issued by.
      ca_file: {json.dumps(ca_file)}
{certificate}\
    file_sd_configs:
      - files: [{TARGETS}]
"""
