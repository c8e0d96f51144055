#!/usr/bin/python3
"""A fake of nvidia-ctk for a lab: the commands, options, files and refusals that the role builds on, and nothing else.

What it leaves out: devices. Its CDI specification gives a container an environment variable and no GPU, so an engine
in it finds none, as behind a broken driver. It asks the host's (fake) nvidia-smi for GPUs. Runs on the lab host.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

VERSION = "1.20.0"
FLAGS = {
    "runtime configure": {
        "--runtime": str, "--config": str, "--nvidia-runtime-name": str, "--nvidia-runtime-path": str,
        "--dry-run": bool, "--nvidia-set-as-default": bool, "--cdi.enabled": bool,
    },
    "cdi generate": {"--output": str, "--format": str, "--mode": str, "--device-name-strategy": list},
    "cdi list": {"--spec-dir": list},
}  # fmt: skip
ALIASES = {
    "--runtime-path": "--nvidia-runtime-path", "--set-as-default": "--nvidia-set-as-default",
    "--cdi.enable": "--cdi.enabled", "--enable-cdi": "--cdi.enabled", "--discovery-mode": "--mode",
}  # fmt: skip


def fail(text):
    sys.stderr.write(f'time="now" level=error msg="{text}"\n')
    sys.exit(1)


def options(kinds, words):
    """Values by flag. Ends with the real tool's words for a flag that it does not have."""
    found, words = {}, list(words)
    while words:
        flag, equals, value = words.pop(0).partition("=")
        flag = ALIASES.get(flag, flag)
        if flag not in kinds:
            fail(f"flag provided but not defined: {flag}")
        if kinds[flag] is bool:
            found[flag] = value != "false"
            continue
        if not equals and not words:
            fail(f"flag needs an argument: {flag}")
        value = value if equals else words.pop(0)
        found[flag] = [*found.get(flag, []), value] if kinds[flag] is list else value
    return found


def configure(wanted):
    if wanted.get("--runtime", "docker") != "docker":
        fail(f"unrecognized runtime '{wanted['--runtime']}'")
    path = Path(wanted.get("--config", "/etc/docker/daemon.json"))
    settings = {}
    if path.exists():
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            fail(f"unable to load config for runtime docker: {error}")
    name = wanted.get("--nvidia-runtime-name", "nvidia")
    runtime = {"args": [], "path": wanted.get("--nvidia-runtime-path", "nvidia-container-runtime")}
    settings.setdefault("runtimes", {})[name] = runtime
    if wanted.get("--nvidia-set-as-default"):
        settings["default-runtime"] = name
    if wanted.get("--cdi.enabled"):
        settings.setdefault("features", {})["cdi"] = True
    text = json.dumps(settings, indent=4)
    if wanted.get("--dry-run"):
        sys.stdout.write(text + "\n")
        return
    path.write_text(text, encoding="utf-8")


def cards():
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        done = None
    if done is None or done.returncode:
        fail("failed to generate CDI spec: failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND")
    return [tuple(word.strip() for word in line.split(",")) for line in done.stdout.splitlines() if line.strip()]


def generate(wanted):
    if wanted.get("--mode", "auto") not in ("auto", "nvml", "csv", "wsl", "management"):
        fail(f"invalid discovery mode: {wanted['--mode']}")
    names = ["all"]
    for strategy in wanted.get("--device-name-strategy", ["index", "uuid"]):
        if strategy not in ("index", "uuid"):
            fail(f"invalid device name strategy: {strategy}")
        names += [card[strategy == "uuid"] for card in cards()]
    edits = {"env": ["NVIDIA_VISIBLE_DEVICES=void"]}
    devices = [{"name": name, "containerEdits": {"env": [f"FAKE_GPU={name}"]}} for name in names]
    spec = {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": devices, "containerEdits": edits}
    text = json.dumps(spec, indent=2) + "\n"  # JSON is YAML too
    output = wanted.get("--output", os.environ.get("NVIDIA_CTK_CDI_OUTPUT_FILE_PATH", ""))
    if not output:
        sys.stdout.write(text)
        return
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    Path(output).write_text(text, encoding="utf-8")


def listing(wanted):
    devices = set()
    for folder in wanted.get("--spec-dir", ["/etc/cdi", "/var/run/cdi"]):
        for path in (path for ending in ("yaml", "json") for path in Path(folder).glob(f"*.{ending}")):
            spec = json.loads(path.read_text(encoding="utf-8"))
            devices |= {f"{spec['kind']}={device['name']}" for device in spec["devices"]}
    sys.stderr.write(f'time="now" level=info msg="Found {len(devices)} CDI devices"\n')
    sys.stdout.write("".join(f"{device}\n" for device in sorted(devices)))


COMMANDS = {"runtime configure": configure, "cdi generate": generate, "cdi list": listing}

if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"NVIDIA Container Toolkit CLI version {VERSION}\ncommit: fake\n")
        sys.exit(0)
    name = " ".join(sys.argv[1:3])
    if name not in COMMANDS:
        fail(f"fake nvidia-ctk of the lab: no such command: {name}")
    COMMANDS[name](options(FLAGS[name], sys.argv[3:]))
