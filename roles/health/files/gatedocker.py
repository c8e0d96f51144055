"""What the gate asks of Docker: the engine's container is the planned one, and it has the GPU."""

from __future__ import annotations

import os
from typing import Any

import hostdocker
from gatehttp import StepError
from gateport import owned, unprivileged
from hostlib import Json, read_json
from hostrun import clean

QUERY = "--query-gpu=uuid,memory.used"
MIB = 1 << 20
# Processes that publish a container's port; which container it is, Docker says.
PUBLISHERS = ("docker-proxy", "dockerd")
PAGE = "phi4-edge-webui"


def engine(args: Json) -> dict[str, Any]:
    """The engine's container as Docker describes it; {} where there is none, or more than one.

    One that has ended, left behind with our labels by somebody's own command, does not count beside one that runs.
    """
    found = [item for item in hostdocker.inspect(args["project"]) if label(item, "phi4-edge.release")]
    found = [item for item in found if (item.get("State") or {}).get("Status") == "running"] or found
    return found[0] if len(found) == 1 else {}


def label(container: Json, name: str) -> str:
    """A label of a container, "" without."""
    return str(((container.get("Config") or {}).get("Labels") or {}).get(name) or "")


def state(args: Json) -> dict[str, str]:
    """How it stands with the engine's container: its state ("" without one), health ("" without a check), restarts."""
    found = engine(args)
    about = found.get("State") or {}
    return {
        "container": str(about.get("Status") or ""),
        "container_health": str((about.get("Health") or {}).get("Status") or ""),
        "container_restarts": str(found.get("RestartCount") or 0),
        "container_id": str(found.get("Id") or "")[:12],
        "container_pid": str(about.get("Pid") or 0),
    }


def planned(args: Json) -> None:
    """The container is of the planned release, runs its image, and publishes the port. Raises StepError otherwise."""
    found = engine(args)
    release, image = label(found, "phi4-edge.release"), str(found.get("Image") or "")
    if release != args["release"]:
        raise StepError("release", f"found a container of release {release!r}, needed {args['release']!r}")
    wanted = hostdocker.named(os.path.join(args["releases"], args["release"])).get("engine")
    if image != wanted:
        raise StepError("image", f"found a container of image {image}, needed {wanted}")
    ports = (found.get("NetworkSettings") or {}).get("Ports") or {}
    published = {str(place.get("HostPort")) for places in ports.values() for place in places or []}
    if str(args["port"]) not in published:
        raise StepError("port", f"the container publishes {sorted(published)}, needed port {args['port']}")
    # Docker's proxy and its daemon are root's; without either the kernel passes the packets on and nobody listens.
    other = unprivileged(args["address"], args["port"])
    if other:
        raise StepError("port", f"what answers on port {args['port']} is {other}, needed the container")


def seen(args: Json) -> dict[str, int]:
    """Bytes that are used of each GPU that the container sees, by UUID. Raises StepError when it sees none."""
    name = str(engine(args).get("Id") or "")
    status, output = hostdocker.docker("exec", name, "nvidia-smi", QUERY, "--format=csv,noheader,nounits")
    found = {}
    for line in output.splitlines() if status == 0 else ():
        uuid, _, used = line.partition(",")
        if uuid.strip().startswith("GPU-"):
            found[uuid.strip()] = int(used.strip()) * MIB if used.strip().isdigit() else 0
    if not found:
        raise StepError("gpu", f"the container sees no GPU, it would serve from the CPU: {clean(output, 500)}")
    return found


def sees_gpu(args: Json) -> None:
    """nvidia-smi inside the container lists the planned GPU."""
    found = seen(args)
    if args["gpu_uuid"] and args["gpu_uuid"] not in found:
        raise StepError("gpu", f"the container sees {', '.join(sorted(found))}, needed {args['gpu_uuid']}")


def beside(args: Json) -> int:
    """Bytes of the GPU's memory that the release beside a rehearsal takes, as its receipt says."""
    receipt = read_json(args["receipt"]) if args["rehearsal"] else None
    if not isinstance(receipt, dict) or args["gpu_uuid"] not in ("", receipt.get("gpu")):
        return 0
    need = receipt.get("vram_need")
    return need if isinstance(need, int) else 0


def uses_gpu(args: Json) -> None:
    """After a generation at least half of the weights lie in the memory of a GPU that the container sees."""
    found = seen(args)
    used = found.get(args["gpu_uuid"], max(found.values())) - args["held_by_others"] - beside(args)
    if used < args["weights"] // 2:
        raise StepError(
            "gpu", f"the model fell back to the CPU: {max(0, used)} bytes of GPU memory used, {args['weights']} needed"
        )


def stranger(args: Json, listener: str) -> str:
    """Who has the port although it is not the engine's container: another container, or `listener`, a process."""
    if listener and not (listener.startswith(PUBLISHERS) and not unprivileged(args["address"], args["port"])):
        return listener
    status, output = hostdocker.docker(
        "container", "ls", "--filter", f"publish={args['port']}", "--format", "{{.Names}} {{.ID}}"
    )
    mine = str(engine(args).get("Id") or "none")
    others = [line for line in output.splitlines() if not mine.startswith(line.split()[-1])] if status == 0 else []
    return f"container {clean(others[0], 100)}" if others else ""


def page_of_another(args: Json) -> str:
    """Why the chat page that answers is not the release's container, which shares the host's network; or ""."""
    found = [item for item in hostdocker.inspect(PAGE) if label(item, "phi4-edge.release") == args["release"]]
    mine = str(found[0].get("Id") or "") if len(found) == 1 else ""
    place = args["webui"]
    return "" if mine and owned(place["address"], place["port"], mine) else "what answers there is another program"
