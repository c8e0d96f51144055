"""The Compose document of the chat page (Open WebUI) beside an engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from phi4_edge.core import layout
from phi4_edge.core.engines.confinement import (
    HEALTH,
    HOME,
    common_environment,
    confined,
    escaped,
    http_health,
    labels,
    mount,
    scratch,
)
from phi4_edge.core.inventory import answering
from phi4_edge.core.layout import WEBUI_PROJECT

_INSIDE = "/app/backend/data"


def webui_document(
    plan: Mapping[str, Any],
    image_id: str,
    *,
    memory: int,
    start: str,
    project: str = WEBUI_PROJECT,
) -> dict[str, Any]:
    """Return the document of the page; `memory` is its limit in bytes.

    `start` is the program that begins it, in place of the image's own: role webui's files/start.py.

    It shares the host's network: the engine listens on the host's loopback, natively or published, and a container
    with a network of its own cannot reach that. It listens on its own planned address alone.
    """
    page = plan["webui"]
    service = {
        "image": image_id,
        "entrypoint": ["python3", "-c", start.replace("$", "$$")],
        "working_dir": "/app/backend",
        "labels": labels(plan["release"], "webui"),
        "environment": escaped({**common_environment(), **_environment(plan)}),
        "volumes": [mount(layout.of(plan).webui, _INSIDE, read_only=False)],
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


# Of a title, follow-ups or tags: the page's own is 1,000 for a title, and none for the others.
_TASK_TOKENS = 300


def _asked(page: Mapping[str, Any]) -> dict[str, str]:
    """What the page asks the engine: a small model on a small machine answers the question, and little else."""
    answer = {} if page["max_tokens"] is None else {"max_tokens": page["max_tokens"]}
    # The model reads no pictures. What says nothing else holds for every model that the engine lists.
    capabilities = {"builtin_tools": page["builtin_tools"], "vision": False}
    return {
        "DEFAULT_MODEL_METADATA": json.dumps({"capabilities": capabilities}),
        "DEFAULT_MODEL_PARAMS": json.dumps(answer),
        "TASK_MODEL_PARAMS": json.dumps({"max_tokens": _TASK_TOKENS}),
        "ENABLE_TITLE_GENERATION": str(page["titles"]),
        "ENABLE_FOLLOW_UP_GENERATION": str(page["follow_ups"]),
        "ENABLE_TAGS_GENERATION": str(page["tags"]),
        "ENABLE_AUTOCOMPLETE_GENERATION": "False",
        # Of an attached text: it goes to the model whole, so nothing is looked up in it.
        "ENABLE_RETRIEVAL_QUERY_GENERATION": "False",
    }


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
        # Its administrator, who is there before the page is, lets others in.
        "WEBUI_AUTH": "True",
        "ENABLE_SIGNUP": "False",
        # Texts of attached files go to the model whole: no second model beside it in this gateway's memory.
        "BYPASS_EMBEDDING_AND_RETRIEVAL": "True",
        "RAG_EMBEDDING_ENGINE": "openai",
        "RAG_OPENAI_API_BASE_URL": f"http://{_written(answering(plan['bind']))}:{plan['port']}/v1",
        **_asked(page),
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
