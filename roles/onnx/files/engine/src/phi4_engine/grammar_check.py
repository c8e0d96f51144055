"""`python -m phi4_engine.grammar_check`: whether the grammar on standard input compiles, as JSON on standard output.

A process of its own, because a schema is a client's: one that is deep enough overflows the stack, and there are
intersections of patterns that are never worked out. Neither can be caught or stopped in a process that serves others.
"""

from __future__ import annotations

import json
import platform
import resource
import signal
import sys
import threading

from phi4_engine.guidance import limits, sentence

CPU_SECONDS = 2
_MEMORY = 192 * 1024 * 1024
"""Bytes that it may write to; usual schemas take 10 MB. A unit that runs out of memory ends as a whole."""
_STACK = 4 * 1024 * 1024
"""Bytes, an eighth of what the model process has for the same: what fits here fits there."""


def main() -> int:
    """Writes {"error": text or null}, or {"missing": text}; a grammar that takes too much ends it by a signal."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    text = sys.stdin.buffer.read().decode()
    try:
        from llguidance import LLMatcher
    except ImportError as error:
        library = " ".join(platform.libc_ver()).strip() or "another C library"
        json.dump({"missing": f"{library} ({sentence(str(error))})"}, sys.stdout)
        return 0
    # Of its own time, which is the same on a host that is busy; SIGPROF ends the process.
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    found: list[str] = []
    threading.stack_size(_STACK)
    checking = threading.Thread(target=lambda: found.append(LLMatcher.validate_grammar(text, None, limits=limits())))
    checking.start()
    checking.join()
    json.dump({"error": sentence(found[0]) if found[0] else None}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
