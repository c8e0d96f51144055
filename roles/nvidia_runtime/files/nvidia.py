"""NVIDIA's container toolkit on a host: what there is, its settings for Docker, CDI devices, and nouveau kept away."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile

from hostlib import HostError, Json, read_bytes, system_directory, write_atomic
from hostrun import command, serve

REFRESH = ("nvidia-cdi-refresh.path", "nvidia-cdi-refresh.service")
VENDOR = "nvidia.com/gpu="


def ctk(*words: str) -> str:
    """What nvidia-ctk prints. Raises HostError with its words when it fails."""
    status, output = command("nvidia-ctk", *words, timeout=120.0)
    if status:
        raise HostError(f"nvidia-ctk {' '.join(words[:2])} failed: {output[-600:]}")
    return output


def inspect(_args: Json, _payload: bytes) -> Json:
    """Version of the toolkit, "" for none; dpkg's architecture; whether the old nvidia-docker2 is installed."""
    status, output = command("nvidia-ctk", "--version", timeout=20.0)
    found = re.search(r"[0-9]+(?:\.[0-9]+)+", output) if status == 0 else None
    _status, architecture = command("dpkg", "--print-architecture")
    _status, old = command("dpkg-query", "--show", "--showformat=${db:Status-Status}", "nvidia-docker2")
    return {
        "toolkit": found.group() if found else "", "architecture": architecture if shutil.which("dpkg") else "",
        "nvidia_docker2": old == "installed",
    }  # fmt: skip


def settings(_args: Json, _payload: bytes) -> Json:
    """What `nvidia-ctk runtime configure` would write into an empty configuration of Docker.

    It works on a file of its own: merging is done by the docker role, which keeps what is there and can take it back.
    """
    folder = tempfile.mkdtemp(prefix="phi4-edge-nvidia-")
    path = os.path.join(folder, "daemon.json")
    try:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write("{}\n")
        ctk("runtime", "configure", "--runtime=docker", "--config=" + path, "--cdi.enabled")
        found = json.loads(read_bytes(path) or b"")
    except ValueError as error:
        raise HostError(f"nvidia-ctk runtime configure wrote no JSON: {error}") from None
    finally:
        shutil.rmtree(folder)
    if not isinstance(found, dict) or "default-runtime" in found:
        raise HostError(f"nvidia-ctk runtime configure made an unexpected configuration: {str(found)[:300]}")
    return {"settings": found, "changed": False}


def devices() -> list[str]:
    """Names of the CDI devices of NVIDIA that Docker can hand over."""
    return sorted(line.strip() for line in ctk("cdi", "list").splitlines() if line.strip().startswith(VENDOR))


def there(gpu: str) -> bool:
    """True when the GPU (any, for "") is among the CDI devices."""
    found = devices()
    return VENDOR + gpu in found if gpu else bool(found)


def enabled(unit: str) -> bool:
    return command("systemctl", "is-enabled", unit)[0] == 0


def cdi(args: Json, _payload: bytes) -> Json:
    """The planned GPU is a CDI device, now and after a reboot.

    The toolkit's own service keeps its specification up to date; where there is none, or it does not name the GPU, one
    of ours does. A container that gets the device so keeps it over `systemctl daemon-reload`.
    """
    units = [unit for unit in REFRESH if command("systemctl", "cat", unit)[0] == 0]
    changes = [f"{unit} enabled" for unit in units if not enabled(unit)]
    if args["check"]:
        return {"changed": bool(changes), "changes": changes}
    for unit in units:
        if not enabled(unit):
            must("enable", "--quiet", "--now", unit)
    ours = os.path.lexists(args["spec"])
    if not ours and not there(args["gpu"]) and REFRESH[1] in units:
        must("restart", REFRESH[1])
        changes.append("CDI specification refreshed")
    if ours or not there(args["gpu"]):
        changes += own_specification(args["spec"])
    if not there(args["gpu"]):
        found = ", ".join(devices()) or "none"
        raise HostError(
            f"found the CDI devices {found}, needed {VENDOR}{args['gpu']}: no container could get that GPU. See "
            "`nvidia-ctk --debug cdi generate` on the host"
        )
    return {"changed": bool(changes), "changes": changes, "devices": devices()}


def must(*words: str) -> None:
    """Raises HostError when systemctl fails; the message holds what it said."""
    status, output = command("systemctl", *words)
    if status:
        raise HostError(f"systemctl {' '.join(words)} failed: {output[-600:]}")


def own_specification(path: str) -> list[str]:
    """Our specification, named by UUID, is that of the driver as it is now."""
    folder = tempfile.mkdtemp(prefix="phi4-edge-nvidia-")
    try:
        made = os.path.join(folder, "nvidia.yaml")
        ctk("cdi", "generate", "--device-name-strategy=uuid", "--output=" + made)
        text = read_bytes(made) or b""
    finally:
        shutil.rmtree(folder)
    if read_bytes(path) == text:
        return []
    system_directory(os.path.dirname(path))
    write_atomic(path, text)
    return [path]


def nouveau(args: Json, _payload: bytes) -> Json:
    """nouveau is not loaded from the next boot on: it would hold the GPU that the driver is for."""
    text = b"# phi4-edge: the NVIDIA driver needs the GPU for itself.\nblacklist nouveau\noptions nouveau modeset=0\n"
    changed = read_bytes(args["path"]) != text
    if changed and not args["check"]:
        system_directory(os.path.dirname(args["path"]))
        write_atomic(args["path"], text)
        status, output = command("update-initramfs", "-u", timeout=600.0)
        if status not in (0, 127):  # without an initramfs there is nothing to keep it out of
            raise HostError(f"update-initramfs failed: {output[-600:]}")
    return {"changed": changed, "changes": [args["path"]] if changed else []}


def remove(args: Json, _payload: bytes) -> Json:
    """Our own CDI specification is gone. What the toolkit's package made is the package's."""
    found = [args["spec"]] if os.path.lexists(args["spec"]) else []
    for path in found if not args["check"] else []:
        os.unlink(path)
    return {"changed": bool(found), "changes": found}


if __name__ == "__main__":
    operations = {"inspect": inspect, "settings": settings, "cdi": cdi, "nouveau": nouveau, "remove": remove}
    serve(globals(), operations)
