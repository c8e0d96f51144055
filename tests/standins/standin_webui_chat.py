"""What the stand-in for Open WebUI sends to the engine, for a question that is typed on the page or asked over its API.

Names, numbers and sizes are those of Open WebUI 0.12.4 as it was seen to ask an engine; the words are fillers.
"""

import json
import os
import urllib.error
import urllib.request
from typing import Any

SECONDS = 300  # for an answer of the engine, which may have others before it
TOOLS = (
    "get_current_timestamp", "calculate_timestamp", "ask_user", "list_knowledge_bases", "search_knowledge_bases",
    "query_knowledge_bases", "grep_knowledge_files", "search_knowledge_files", "query_knowledge_files",
    "view_knowledge_file", "search_chats", "view_chat", "search_memories", "list_memory_paths", "read_memory_path",
    "list_memories", "update_memory", "add_memory", "replace_memory_content", "delete_memory", "search_notes",
    "view_note", "write_note", "replace_note_content", "create_skill", "create_tasks", "update_task",
    "create_automation", "update_automation", "list_automations", "toggle_automation", "delete_automation",
    "search_calendar_events", "create_calendar_event", "update_calendar_event", "delete_calendar_event",
)  # fmt: skip
# Of all of them as JSON: a question of 53 characters to a model with a name of 26 was 24,894 bytes.
TOOL_BYTES = 24_738
# Besides the answer: the switch of each task, and how long its instructions are. In this order; the title is asked for
# before the answer, of the question alone, and the others have question and answer in them.
TITLE = ("ENABLE_TITLE_GENERATION", 1012)
AFTERWARDS = {"follow-ups": ("ENABLE_FOLLOW_UP_GENERATION", 1403), "tags": ("ENABLE_TAGS_GENERATION", 704)}
TITLE_TOKENS = 1000


def setting(name: str) -> "dict[str, Any]":
    """A setting that is an object of JSON; {} where it is not set, or is none."""
    try:
        found = json.loads(os.environ.get(name) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def on(name: str) -> bool:
    """Whether a switch that is on by default is on."""
    return os.environ.get(name, "True").lower() == "true"


def encoded(value: Any) -> bytes:
    """JSON without spaces, as it goes to the engine."""
    return json.dumps(value, separators=(",", ":")).encode()


def filler(size: int, about: str = "") -> str:
    """`size` characters of words."""
    words = f"What {about or 'this'} is for, how it is asked for, and what comes of it, in many words. "
    return (words * (size // len(words) + 1))[:size]


def tools() -> "list[dict[str, Any]]":
    """The page's own tools, as long as the real ones."""
    text = {"type": "string", "description": ""}
    made: list[dict[str, Any]] = [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": "",
                "parameters": {"type": "object", "properties": {"query": dict(text)}, "required": ["query"]},
            },
        }
        for name in TOOLS
    ]
    missing = TOOL_BYTES - len(encoded(made))
    for number, tool in enumerate(made):
        share = missing // len(made) + (number < missing % len(made))
        tool["function"]["description"] = filler(share, tool["function"]["name"])
    return made


def question_body(model: str, question: str, typed: bool) -> "dict[str, Any]":
    """What is asked for a question. `typed` on the page; over the API no tools come along."""
    body: dict[str, Any] = {"stream": True, "model": model, "messages": [{"role": "user", "content": question}]}
    capabilities = setting("DEFAULT_MODEL_METADATA").get("capabilities") or {}
    body.update(setting("DEFAULT_MODEL_PARAMS"))
    if typed and capabilities.get("builtin_tools", True):
        body["tools"] = tools()
    return body


def task_body(model: str, chat: "list[str]", instructions: int, tokens: "dict[str, Any]") -> "dict[str, Any]":
    """What is asked for a title, follow-ups or tags."""
    content = filler(instructions) + "\n".join(chat)
    return {"model": model, "messages": [{"role": "user", "content": content}], "stream": False, **tokens}


def posted(body: "dict[str, Any]") -> str:
    """The text that the engine answers with. Raises OSError or ValueError when it answers with none."""
    request = urllib.request.Request(
        f"{os.environ['OPENAI_API_BASE_URL']}/chat/completions", encoded(body), method="POST"
    )
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {os.environ.get('OPENAI_API_KEY', '')}")
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        if not body["stream"]:
            return str(json.load(answer)["choices"][0]["message"]["content"] or "")
        lines = [line.decode().partition("data: ")[2].strip() for line in answer]
    pieces = [json.loads(line) for line in lines if line and line != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for piece in pieces for choice in piece["choices"])


def refusal(error: Exception) -> str:
    """What the page shows in place of an answer: the engine's own words, where it has said any."""
    if not isinstance(error, urllib.error.HTTPError):
        return f"{type(error).__name__}: {error}"
    try:
        said = json.load(error)["error"]
        return str(said["message"] if isinstance(said, dict) else said)
    except (OSError, ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"


def ask(model: str, question: str, typed: bool) -> "dict[str, Any]":
    """The answer to the first question of a chat, or `error`; and `sent`: purpose and bytes of each request."""
    sent: list[list[Any]] = []

    def send(purpose: str, body: "dict[str, Any]") -> str:
        sent.append([purpose, len(encoded(body))])
        return posted(body)

    def task(purpose: str, switch: str, instructions: int, chat: "list[str]", tokens: "dict[str, Any]") -> None:
        if typed and on(switch):
            try:
                send(purpose, task_body(model, chat, instructions, setting("TASK_MODEL_PARAMS") or tokens))
            except (OSError, ValueError, KeyError):
                sent[-1].append("failed")  # the chat goes on without it, as in the real one

    task("title", *TITLE, [question], {"max_tokens": TITLE_TOKENS})
    try:
        answer = send("answer", question_body(model, question, typed))
    except (OSError, ValueError, KeyError) as error:
        return {"error": refusal(error), "sent": sent}
    for purpose, (switch, instructions) in AFTERWARDS.items():
        task(purpose, switch, instructions, [question, answer], {})
    return {"answer": answer, "sent": sent}
