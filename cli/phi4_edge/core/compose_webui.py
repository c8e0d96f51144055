"""The Compose document of the chat page (Open WebUI) beside an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi4_edge.core.compose_engines import http_health
from phi4_edge.core.compose_parts import HEALTH, HOME, common_environment, confined, escaped, labels, mount, scratch
from phi4_edge.core.host import MODELS_PATH
from phi4_edge.core.reach import answering

WEBUI_PROJECT = "phi4-edge-webui"
# On the host: accounts and chats, mode 0700, owned by the container's user.
DATA = f"{MODELS_PATH}/webui"
_INSIDE = "/app/backend/data"
# What the image's own start script does, without its copy of the log: the key that signs sessions is made once and
# stays with the data.
_START = f"""
import os, pathlib, secrets, sys
key = pathlib.Path("{_INSIDE}/.webui_secret_key")
if not key.exists():
    fresh = key.with_name(key.name + ".new")
    fresh.touch(0o600)
    fresh.write_text(secrets.token_urlsafe(32))
    fresh.rename(key)
os.environ["WEBUI_SECRET_KEY"] = key.read_text()
os.execvp(sys.executable, [sys.executable, "-m", "uvicorn", "open_webui.main:app", "--host", os.environ["HOST"],
    "--port", os.environ["PORT"], "--workers", "1"])
"""


def webui_document(
    plan: Mapping[str, Any],
    image_id: str,
    *,
    memory: int,
    data_dir: str = DATA,
    project: str = WEBUI_PROJECT,
) -> dict[str, Any]:
    """Return the document of the page; `memory` is its limit in bytes, `data_dir` must exist on the host.

    It shares the host's network: the engine listens on the host's loopback, natively or published, and a container
    with a network of its own cannot reach that. It listens on its own planned address alone.
    """
    page = plan["webui"]
    service = {
        "image": image_id,
        "entrypoint": ["python3", "-c", _START.replace("$", "$$")],
        "working_dir": "/app/backend",
        "labels": labels(plan["release"], "webui"),
        "environment": escaped({**common_environment(), **_environment(plan)}),
        "volumes": [mount(data_dir, _INSIDE, read_only=False)],
        "network_mode": "host",
        "healthcheck": {**HEALTH, "test": _health(page["bind"], page["port"]), "start_period": "300s"},
        "cpus": 1.0,
        **confined(memory, 256, 20),
        "tmpfs": [scratch("/tmp", "64m"), scratch(HOME, "64m"), scratch(_STATIC, "64m")],  # noqa: S108 - its own
    }
    return {"name": project, "services": {"webui": service}}


_STATIC = f"{HOME}-static"


def _health(bind: str, port: int) -> list[str]:
    return [word.replace("127.0.0.1", _written(answering(bind))) for word in http_health(port)]


def _written(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _environment(plan: Mapping[str, Any]) -> dict[str, str]:
    page = plan["webui"]
    return {
        "HOST": page["bind"],
        "PORT": str(page["port"]),
        "DATA_DIR": _INSIDE,
        # It copies its pictures there at each start.
        "STATIC_DIR": _STATIC,
        "OPENAI_API_BASE_URL": f"http://{_written(answering(plan['bind']))}:{plan['port']}/v1",
        # The engine asks for none, the page wants one.
        "OPENAI_API_KEY": "none",
        "ENABLE_OLLAMA_API": "False",
        # Whoever opens the page first becomes its administrator, who lets others in.
        "WEBUI_AUTH": "True",
        "ENABLE_SIGNUP": "False",
        # Texts of attached files go to the model whole: no second model beside it in this gateway's memory.
        "BYPASS_EMBEDDING_AND_RETRIEVAL": "True",
        "RAG_EMBEDDING_ENGINE": "openai",
        "RAG_OPENAI_API_BASE_URL": f"http://{_written(answering(plan['bind']))}:{plan['port']}/v1",
        # What is written here holds at each start, not only at the first.
        "ENABLE_PERSISTENT_CONFIG": "False",
        # No word to anybody, and nothing fetched.
        "OFFLINE_MODE": "True",
        "HF_HUB_OFFLINE": "1",
        "ANONYMIZED_TELEMETRY": "False",
        "DO_NOT_TRACK": "True",
        "SCARF_NO_ANALYTICS": "True",
        "ENABLE_VERSION_UPDATE_CHECK": "False",
        "RAG_EMBEDDING_MODEL_AUTO_UPDATE": "False",
        "RAG_RERANKING_MODEL_AUTO_UPDATE": "False",
        "WHISPER_MODEL_AUTO_UPDATE": "False",
    }
