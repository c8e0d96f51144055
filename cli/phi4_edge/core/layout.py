"""Where things are on a host, and what they are called there: said once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DOCKER_PATH = "/var/lib/docker"
DPKG_PATH = "/var/lib/dpkg"
SYSTEM_PATH = "/etc"
# What Ansible tells other people's plays of the release.
LOCAL_FACT = "/etc/ansible/facts.d/phi4_edge.fact"

UNIT, WEBUI_UNIT, REHEARSAL_UNIT = "phi4-edge.service", "phi4-edge-webui.service", "phi4-edge-rehearsal.service"
# The port of an engine that systemd can hand it to; others bind it themselves.
SOCKET_UNIT = "phi4-edge.socket"
# Keeps the model loaded of an engine that would load it with the first request.
LOAD_UNIT = "phi4-edge-load.service"
# Look after the release where the inventory wants it; the timer starts the other one.
HEAL_UNIT, HEAL_TIMER = "phi4-edge-heal.service", "phi4-edge-heal.timer"
# In front of the engine, for clients with a key; the other one says at its /metrics how the host is.
GATEWAY_UNIT, METRICS_UNIT = "phi4-edge-gateway.service", "phi4-edge-metrics.service"
# Keeps users of the host from the port of an engine that has a gateway.
GUARD_UNIT = "phi4-edge-guard.service"
# Tells the gateway of an engine that cuts prompts in silence which ones are too long, at a socket below /run.
MEASURE_UNIT, MEASURE_RUN = "phi4-edge-measure.service", "phi4-edge-measure"
# In front of gateways, on a host that has no engine: none of the units of a release.
BALANCER_UNIT = "phi4-edge-balancer.service"
UNITS = (
    GUARD_UNIT, SOCKET_UNIT, UNIT, LOAD_UNIT, WEBUI_UNIT, GATEWAY_UNIT, METRICS_UNIT, MEASURE_UNIT, HEAL_UNIT,
    HEAL_TIMER,
)  # fmt: skip
# A directory below /var/cache that systemd gives to an engine of its own that counts the tokens of keys.
KEY_USAGE_CACHE = "phi4-edge-key-usage"
PROJECT, REHEARSAL_PROJECT, WEBUI_PROJECT = "phi4-edge", "phi4-edge-rehearsal", "phi4-edge-webui"

LOOPBACK = "127.0.0.1"
# Of the gateway, made by the package of the distribution's HAProxy.
GATEWAY_USER = "haproxy"


@dataclass(frozen=True, slots=True)
class Layout:
    """The two directories of one host that hold what is installed: `root` what runs, `state` what it needs and keeps.

    `core.values.layout` makes one of what an inventory says. Units, and what is gone after a boot, lie where they must.
    """

    root: str = "/opt/phi4-edge"
    state: str = "/var/lib/phi4-edge"

    @property
    def releases(self) -> str:
        """A directory for each release."""
        return f"{self.root}/releases"

    @property
    def models(self) -> str:
        """What was pushed, by digest."""
        return f"{self.state}/models"

    @property
    def stores(self) -> str:
        """What an engine made of a model for itself."""
        return f"{self.state}/stores"

    @property
    def repacked(self) -> str:
        """Weights of models as an engine's kernels read them; nothing depends on them."""
        return f"{self.state}/repacked"

    @property
    def gateway(self) -> str:
        """What lets clients in at the gateway: keys by digest, its certificate; mode 0700, owned by root."""
        return f"{self.state}/gateway"

    @property
    def key_usage(self) -> str:
        """What an engine in a container has counted for keys, mode 0700, owned by the container's user."""
        return f"{self.state}/key-usage"

    @property
    def balancer(self) -> str:
        """What a balancer is configured from, its own key and certificate; mode 0700, owned by root."""
        return f"{self.state}/balancer"

    @property
    def webui(self) -> str:
        """Accounts and chats of the chat page, mode 0700, owned by the container's user."""
        return f"{self.state}/webui"

    @property
    def variables(self) -> dict[str, str]:
        """The inventory variables that say so, by name."""
        return {f"phi4_{name}": path for name, path in self.to_dict().items()}

    def to_dict(self) -> dict[str, str]:
        """Return plain data; `Layout(**…)` of it is equal."""
        return {"root": self.root, "state": self.state}


STANDARD = Layout()
# What lies in each: neither directory may lie in something of the other's.
IN_ROOT = ("current", "engines", "releases")
IN_STATE = (
    *("bench.json", "docker.json", "fact.json", "gateway", "heal", "heal.json", "journal.json", "key-usage", "lock"),
    *("models", "receipt.json", "repacked", "staging", "stores", "trust", "webui"),
)


def of(plan: Mapping[str, Any]) -> Layout:
    """Return the layout of a plan's host. Plans say it where it is not the standard one."""
    found = plan.get("layout")
    return Layout(str(found["root"]), str(found["state"])) if found else STANDARD
