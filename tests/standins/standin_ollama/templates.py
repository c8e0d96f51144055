"""Go templates as far as a stand-in needs them: their syntax is checked, and what they name is found."""

from __future__ import annotations

import re

ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
OPENING = ("if", "range", "with", "block", "define")
FUNCTIONS = {
    "and", "or", "not", "len", "index", "slice", "eq", "ne", "lt", "le", "gt", "ge", "print", "printf", "println",
    "json", "currentDate", "yesterdayDate", "toTypeScriptType", "html", "js", "urlquery", "call",
}  # fmt: skip
WORDS = {*OPENING, "else", "end", "template", "break", "continue", "true", "false", "nil"}


class TemplateError(Exception):
    """The template is no Go template; `status` is that of the answer."""

    status = 400


def check(text: str) -> None:
    """Raises TemplateError for unbalanced braces or blocks, unknown functions and undefined variables."""
    if text.count("{{") != text.count("}}") or ACTION.sub("", text).count("{{"):
        raise TemplateError("template error: template: :1: unclosed action")
    depth, defined = 0, {"$"}
    for action in ACTION.findall(text):
        if action.startswith("/*"):
            continue
        plain = re.sub(r'"(?:[^"\\]|\\.)*"|`[^`]*`', '""', action)
        word = plain.split(" ")[0]
        depth += (word in OPENING) - (word == "end")
        if depth < 0:
            raise TemplateError("template error: template: :1: unexpected {{end}}")
        for name in re.findall(r"(?<![.$\w\"])[A-Za-z_]\w*", plain):
            if name not in FUNCTIONS | WORDS:
                raise TemplateError(f'template error: template: :1: function "{name}" not defined')
        defined |= set(re.findall(r"(\$\w+)(?=\s*(?:,|:=))", plain))
        for name in re.findall(r"\$\w+", plain):
            if name not in defined:
                raise TemplateError(f'template error: template: :1: undefined variable "{name}"')
    if depth:
        raise TemplateError("template error: template: :1: unexpected EOF")


def fields(text: str) -> set[str]:
    """Lower-case names of all fields that the template uses."""
    return {name.lower() for action in ACTION.findall(text) for name in re.findall(r"\.([A-Za-z]\w*)", action)}
