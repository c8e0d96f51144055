"""Sources of the probe on a host that bounds what a login may have."""

from __future__ import annotations

import json
import subprocess
import sys

from phi4_edge.remote import scripts

MANY = """
import json, re, resource, sys, time
sys.path[:0] = [sys.argv[1]]
import hostsources
data = int(re.search(r"VmData:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (data + int(sys.argv[2]),) * 2)

def slow():
    time.sleep(0.5)
    return "said"

answers = hostsources.collect({str(number): slow for number in range(60)}, 100, {}, {})
print(json.dumps(sorted({json.dumps(answer) for answer in answers.values()})))
"""


def collected(room: int) -> list[str]:
    """The kinds of answers of sixty sources that are at work at once, with so many bytes to allocate."""
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(scripts.SHARED), str(room)], capture_output=True, text=True, check=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_all_are_asked_at_once_within_little_memory() -> None:
    assert collected(64 << 20) == ['{"text": "said"}']


def test_what_cannot_be_asked_is_a_gap_and_no_end() -> None:
    kinds = collected(8 << 20)
    assert '{"text": "said"}' in kinds
    assert any("can't start new thread" in kind and '"gap": "failed"' in kind for kind in kinds)
