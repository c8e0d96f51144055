"""The environment variables that Ollama reads (envconfig/config.go), with their defaults."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .names import FOREVER, duration

VERSION = "0.35.0"
# llama-server's own default, whatever memory there is.
CACHE_RAM_MIB = 8192


def var(name: str) -> str:
    """The variable without surrounding blanks and quotes."""
    return os.environ.get(name, "").strip().strip("\"'")


def address() -> tuple[str, int]:
    """Host and port of OLLAMA_HOST."""
    text = var("OLLAMA_HOST").partition("://")[2] or var("OLLAMA_HOST")
    hostport = text.split("/")[0]
    host, _, port = hostport.rpartition(":")
    if not port.isdigit() or (":" in host and not host.startswith("[")):
        host, port = hostport, "11434"
    number = int(port)
    if number > 65535:
        warn(f"invalid port, using default port={port} default=11434")
        number = 11434
    return host.strip("[]") or "127.0.0.1", number


def connectable() -> tuple[str, int]:
    """Where a client finds the server of OLLAMA_HOST."""
    host, port = address()
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


def models() -> Path:
    """OLLAMA_MODELS."""
    return Path(var("OLLAMA_MODELS") or home() / ".ollama" / "models")


def home() -> Path:
    """HOME; without it Ollama does not start."""
    if not os.environ.get("HOME"):
        sys.exit("Error: $HOME is not defined")
    return Path(os.environ["HOME"])


def flag(name: str) -> bool:
    """A boolean as Go's strconv.ParseBool reads it; what it cannot read is true."""
    text = var(name)
    return bool(text) and text not in ("0", "f", "F", "false", "FALSE", "False")


def number(name: str, default: int) -> int:
    """An unsigned number; what is none is warned of, and the default counts."""
    text = var(name)
    if not text or text.isdigit():
        return int(text or default)
    warn(f"invalid environment variable, using default key={name} value={text} default={default}")
    return default


def keep_alive() -> float:
    """Seconds that a model stays loaded."""
    text = var("OLLAMA_KEEP_ALIVE")
    try:
        value = float(int(text)) if text else 300.0
    except ValueError:
        try:
            value = duration(text)
        except ValueError:
            value = 300.0
    return FOREVER if value < 0 else value


def context_length() -> int:
    """OLLAMA_CONTEXT_LENGTH, else what Ollama takes on a host with little VRAM."""
    return number("OLLAMA_CONTEXT_LENGTH", 0) or 4096


def go_template() -> bool:
    """Whether a model's Go template wins over the Jinja template in its GGUF."""
    return flag("OLLAMA_GO_TEMPLATE")


def cache_ram() -> int:
    """Bytes of prompts that llama-server keeps beside its KV cache: LLAMA_ARG_CACHE_RAM in MiB; below 0: no limit."""
    text = var("LLAMA_ARG_CACHE_RAM")
    return int(text or CACHE_RAM_MIB) << 20


def gpu_visible() -> bool:
    """True when an NVIDIA device is there and is not hidden; a device node is enough, for nothing is computed."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    return Path("/dev/nvidiactl").exists() and Path("/dev/nvidia0").exists() and hidden not in ("", "-1")


def warn(text: str) -> None:
    """A warning in the log."""
    log(f"level=WARN msg={text!r}")


def log(line: str) -> None:
    """One line in the log."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
