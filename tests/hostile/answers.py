"""False answers: what a hostile host puts into the frame in place of an honest document.

Each takes the honest answer and makes another one of it (a document, or bytes where JSON of Python could not say it).
Python 3.8 or newer, standard library only: this runs on gateways too.
"""

import json
from typing import Any, Callable, Dict, NamedTuple

# What must come of it: the host fails; or, where the falsehood is one that only its own host can know, whatever comes
# stays on that host.
REFUSED, CONTAINED = "refused", "contained"
EVALUATED = "evaluated-for-me"


class Row(NamedTuple):
    """One row of the table: how it is told from all others, and the folder in which nothing may appear."""

    behaviour: str
    operation: str
    canary: str
    home: str = ""

    @property
    def mark(self) -> str:
        """A word that nothing but this row can have brought anywhere."""
        return "owned.%s.%s" % (self.behaviour.replace(" ", "-"), self.operation.replace("/", "."))

    @property
    def command(self) -> str:
        return "touch %s/%s" % (self.canary, self.mark)


class Answer(NamedTuple):
    make: Callable[[Dict[str, Any], Row], Any]
    expect: str = REFUSED


def escapes(row: Row) -> str:
    """What a terminal, a page, a shell and Jinja would each obey, ended by a change of direction and by characters
    that cannot be seen."""
    return "\x1b[2J\x1b]0;%s\x07\x9b31m\r<script>alert(1)</script>`%s`$(%s)\u202e\u200b" % (
        row.mark, row.command, row.command)  # fmt: skip


def template(row: Row) -> str:
    """What Jinja would run; EVALUATED is seen in the output if only the first expression is."""
    return "{{ 'evaluated' ~ '-for-me' }}{{ lookup('ansible.builtin.pipe', '%s') }}{%% set x = 1 %%}" % row.command


def local(row: Row) -> Dict[str, Any]:
    """Variables with which a host is the controller, and its Python a command."""
    return {
        "ansible_connection": "local", "ansible_become": False,
        "ansible_python_interpreter": "sh -c '%s' --" % row.command,
    }  # fmt: skip


# Keys of a result that Ansible acts on, prints or passes on: a host's answer must bring none of them there.
RESERVED: Dict[str, Callable[[Row], Any]] = {
    "add_host": lambda row: {"host_name": row.mark, "groups": ["all", "owned"], "host_vars": local(row)},
    "add_group": lambda row: "owned",
    "parent_groups": lambda row: ["all"],
    "ansible_facts": lambda row: {
        **local(row),
        row.mark: 1,
        "phi4_plan": {"action": "none"},
        "phi4_images": {"engine": row.mark},
    },
    "ansible_stats": lambda row: {"data": {row.mark: 1}, "per_host": False, "aggregate": False},
    "_ansible_delegated_vars": lambda row: {"ansible_delegated_host": "innocent", "ansible_host": row.mark},
    "_ansible_facts_cacheable": lambda row: True,
    "_ansible_ignore_errors": lambda row: True,
    "_ansible_item_label": lambda row: row.mark,
    "_ansible_item_result": lambda row: True,
    "_ansible_no_log": lambda row: True,
    "_ansible_notify": lambda row: [row.mark],
    "_ansible_parsed": lambda row: True,
    "_ansible_retry": lambda row: True,
    "_ansible_verbose_always": lambda row: True,
    "_ansible_verbose_override": lambda row: True,
    "__ansible_type": lambda row: "_AnsibleTaggedStr",
    "__ansible_unsafe": lambda row: row.mark,
    "__ansible_vault": lambda row: row.mark,
    "__class__": lambda row: row.mark,
    "ansible_job_id": lambda row: row.mark,
    "ansible_loop_var": lambda row: row.mark,
    "ansible_index_var": lambda row: row.mark,
    "discovered_interpreter_python": lambda row: "sh -c '%s' --" % row.command,
    "attempts": lambda row: 1,
    "censored": lambda row: row.mark,
    "changed": lambda row: {"mark": row.mark},
    "cmd": lambda row: row.command,
    "delta": lambda row: row.mark,
    "deprecations": lambda row: [{"msg": row.mark, "version": "9"}, 1],
    "diff": lambda row: {"before": row.mark, "after": escapes(row), "before_header": "x", "after_header": "x"},
    "end": lambda row: row.mark,
    "exception": lambda row: "Traceback (most recent call last): %s" % row.mark,
    "failed": lambda row: False,
    "failed_when_result": lambda row: False,
    "changed_when_result": lambda row: row.mark,
    "finished": lambda row: 1,
    "started": lambda row: 1,
    "host_name": lambda row: "innocent",
    "host_vars": local,
    "include": lambda row: "/etc/passwd",
    "include_args": local,
    "include_variables": local,
    "invocation": lambda row: {"module_args": {row.mark: row.mark}},
    "item": lambda row: row.mark,
    "module_stderr": lambda row: row.mark,
    "module_stdout": lambda row: row.mark,
    "msg": lambda row: {"mark": row.mark},
    "phi4_facts": lambda row: {"mark": row.mark},
    "phi4_lock": lambda row: {"state": "taken", "message": template(row)},
    "rc": lambda row: 0,
    "results": lambda row: [{"failed": False, "failed_when_result": False, "mark": row.mark, "add_host": local(row)}],
    "retries": lambda row: 1,
    "skipped": lambda row: True,
    "skip_reason": lambda row: row.mark,
    "start": lambda row: row.mark,
    "stderr": escapes,
    "stderr_lines": lambda row: [escapes(row)],
    "stdout": escapes,
    "stdout_lines": lambda row: [escapes(row)],
    "unreachable": lambda row: True,
    "warnings": lambda row: [{"mark": row.mark}, escapes(row)],
}
# Those with which something was done to the controller or to another host, or a failure was hidden, one by one.
ALONE = (
    "add_host", "add_group", "ansible_facts", "ansible_stats", "_ansible_delegated_vars", "_ansible_no_log",
    "changed", "deprecations", "diff", "exception", "failed", "failed_when_result", "invocation", "msg", "results",
    "skipped", "unreachable", "warnings",
)  # fmt: skip


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """`value` with every leaf changed."""
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [mapped(item, change) for item in value]
    return change(value)


def other(value: Any) -> Any:
    """Something of another type that says the same."""
    if isinstance(value, dict):
        return list(value)
    if isinstance(value, list):
        return {str(number): item for number, item in enumerate(value)}
    if isinstance(value, (bool, int, float)):
        return str(value)
    return [value]


def lie(value: Any) -> Any:
    """Something plausible that is not so."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, (int, float)) else value


def numbers(new: Any) -> Callable[[Any], Any]:
    """Every number is `new`."""
    return lambda value: new if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def words(new: Callable[[Row], Any]) -> Callable[[Dict[str, Any], Row], Any]:
    """Every text of the answer is what `new` makes."""
    return lambda good, row: mapped(good, lambda value: new(row) if isinstance(value, str) else value)


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def raw(good: Dict[str, Any], more: bytes) -> bytes:
    """The honest answer, behind it what JSON of Python could not have written."""
    return json.dumps(good).encode().rstrip(b"}") + (b"," if good else b"") + more + b"}"


def each(good: Dict[str, Any], value: Callable[[Any], Any]) -> Dict[str, Any]:
    return {key: value(item) for key, item in good.items()}


ANSWERS: Dict[str, Answer] = {
    **{
        "key %s" % key: Answer(lambda good, row, key=key: {**good, key: RESERVED[key](row)})  # type: ignore[misc]
        for key in ALONE
    },
    "keys all": Answer(lambda good, row: {**good, **{key: make(row) for key, make in RESERVED.items()}}),
    "keys internal": Answer(
        lambda good, row: {**good, **{key: make(row) for key, make in RESERVED.items() if key.startswith("_")}}
    ),
    "keys of a command": Answer(
        lambda good, row: {**good, **{key: RESERVED[key](row) for key in ("rc", "stdout", "stderr", "cmd", "start")}}
    ),
    "keys within": Answer(
        lambda good, row: {
            key: {**item, "add_host": RESERVED["add_host"](row), "ansible_facts": RESERVED["ansible_facts"](row)}
            if isinstance(item, dict)
            else item
            for key, item in good.items()
        },
        CONTAINED,
    ),
    "host is innocent": Answer(
        lambda good, row: {**good, "changed": True, "add_host": {"host_name": "innocent", "host_vars": local(row)}}
    ),
    "extra key": Answer(lambda good, row: {**good, "more": row.mark}),
    "extra keys without end": Answer(lambda good, row: {**good, **{str(number): 1 for number in range(50000)}}),
    "key of escapes": Answer(lambda good, row: {**good, escapes(row): 1}),
    "key of a template": Answer(lambda good, row: {**good, template(row): 1}),
    "key of nothing": Answer(lambda good, row: {**good, "": 1}),
    "one key missing": Answer(lambda good, row: dict(list(good.items())[1:]), CONTAINED),
    "last key missing": Answer(lambda good, row: dict(list(good.items())[:-1]), CONTAINED),
    "no key": Answer(lambda good, row: {}, CONTAINED),
    "other types": Answer(lambda good, row: each(good, other)),
    "types within": Answer(lambda good, row: mapped(good, other)),
    "nulls": Answer(lambda good, row: each(good, lambda _value: None)),
    "lists": Answer(lambda good, row: each(good, lambda value: [value])),
    "objects": Answer(lambda good, row: each(good, lambda value: {"a": value})),
    "booleans": Answer(lambda good, row: mapped(good, lambda value: value if isinstance(value, bool) else True)),
    "numbers": Answer(lambda good, row: each(good, lambda _value: 7)),
    "negative numbers": Answer(lambda good, row: mapped(good, numbers(-(10**15))), CONTAINED),
    "huge numbers": Answer(lambda good, row: mapped(good, numbers(10**30))),
    "fractions": Answer(lambda good, row: mapped(good, numbers(0.5)), CONTAINED),
    "no number": Answer(lambda good, row: raw(good, b'"changed": NaN')),
    "without end": Answer(lambda good, row: raw(good, b'"changed": Infinity')),
    "1e400": Answer(lambda good, row: raw(good, b'"changed": 1e400')),
    "number of 5000 digits": Answer(lambda good, row: raw(good, b'"changed": ' + b"9" * 5000)),
    "the same key twice": Answer(lambda good, row: raw(good, b'"changed": true, "changed": {"a": 1}')),
    "deep": Answer(lambda good, row: {**good, "changed": json.loads(nested(20))}),
    "deeper": Answer(lambda good, row: raw(good, b'"changed": ' + nested(40))),
    "deepest": Answer(lambda good, row: raw(good, b'"changed": ' + nested(200000))),
    "lists in lists": Answer(lambda good, row: raw(good, b'"changed": ' + b"[" * 100000 + b"]" * 100000)),
    "escape codes": Answer(words(escapes), CONTAINED),
    "templates": Answer(words(template), CONTAINED),
    "lone surrogates": Answer(words(lambda row: "\ud800" + row.mark), CONTAINED),
    "zeros": Answer(words(lambda row: "\0" + row.mark), CONTAINED),
    "empty texts": Answer(words(lambda row: ""), CONTAINED),
    "paths that climb": Answer(words(lambda row: "../../../../" + row.canary + "/" + row.mark), CONTAINED),
    "long texts": Answer(words(lambda row: "A" * 50000), CONTAINED),
    "one very long text": Answer(lambda good, row: {**good, "changed": "A" * (3900 << 10)}),
    "not UTF-8": Answer(lambda good, row: raw(good, b'"changed": "\xff\xfe\xc3"')),
    "a lie": Answer(lambda good, row: mapped(good, lie), CONTAINED),
    "names of nothing": Answer(
        lambda good, row: each(good, lambda value: [*value, escapes(row)] if isinstance(value, list) else value),
        CONTAINED,
    ),
    "a list": Answer(lambda good, row: [good]),
    "null": Answer(lambda good, row: None),
    "a number": Answer(lambda good, row: 7),
    "a text": Answer(lambda good, row: row.mark),
    "error of escapes": Answer(lambda good, row: {"error": escapes(row) * 20}),
    "error of a template": Answer(lambda good, row: {"error": template(row)}),
    "error object": Answer(lambda good, row: {"error": {"a": escapes(row)}}),
    "error null": Answer(lambda good, row: {"error": None}),
    "error empty": Answer(lambda good, row: {"error": ""}),
    "error without end": Answer(lambda good, row: {"error": "A" * (3900 << 10)}),
    "error and keys": Answer(
        lambda good, row: {"error": row.mark, **{key: make(row) for key, make in RESERVED.items()}}
    ),
    "error and answer": Answer(lambda good, row: {**good, "error": "no"}),
    "timed out": Answer(lambda good, row: {**good, "timedout": {"frame": escapes(row), "period": 1}}),
    "error timed out": Answer(lambda good, row: {"error": "no", "timedout": {"frame": escapes(row), "period": "x"}}),
    "damaged": Answer(lambda good, row: {"damaged": escapes(row)}),
}
