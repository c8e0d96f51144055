"""The hostile host's Python: what root of a taken-over gateway puts in the place of its python3.

    python3 actor.py HOME CANARY BEHAVIOUR TARGET  -IB -c BOOTSTRAP NONCE LENGTH   (what our framing adds)

HOME holds `index.json`: the first words of every host script of ours and which one it is. In the table it also holds
`good.json`, what an honest host would answer, for nothing may truly be installed there; a lab gateway has no such file
and the true script runs. BEHAVIOUR is `honest`, a name of `answers` or `wire`, `payload:FILE` (honest
answers with the keys of that JSON in it), or `instead:FILE` (that JSON alone, and nothing is done). TARGET is the
operation that is answered falsely (role/script/do, or only a part: role, or * for all; `series` for several in one
exchange); everything else is answered honestly. CANARY is a folder on the controller, in which nothing may ever appear.

Python 3.8 or newer, standard library only: it runs on gateways too.
"""

import base64
import json
import os
import signal
import sys
import zlib

sys.path.insert(0, os.path.abspath(__file__).rsplit(os.sep, 3)[0])
from tests.hostile import answers, wire
from tests.hostile.answers import Row

# Nothing of this outlives its test, whatever the other side does.
LONGEST = 300


class Asked:
    """One call by the framing: the script, its arguments, what follows them, and who it is."""

    def __init__(self, home, words):
        self.words, self.nonce = words, words[3]
        self.script = sys.stdin.buffer.read(int(words[4]))
        self.line = sys.stdin.buffer.readline()
        self.args = json.loads(self.line.decode())
        script = script_of(home, zlib.decompress(self.script))
        self.operation = "%s/%s" % (script, self.args.get("do") or script.rpartition("/")[2])
        if "series" in self.args:  # several in one exchange, as a whole
            self.operation = "series"

    def genuine(self):
        """Exit status and standard output of the true script, run by the true Python."""
        import subprocess  # not needed in the table, where each start counts

        given = self.script + self.line + sys.stdin.buffer.read()
        done = subprocess.run([sys.executable, *self.words], input=given, stdout=subprocess.PIPE, check=False)
        return done.returncode, done.stdout

    def document(self, home, target):
        """What an honest host would answer."""
        known = os.path.join(home, "good.json")
        if os.path.exists(known):
            with open(known, encoding="utf-8") as stream:
                every = json.load(stream)
            return {**every["*"], **every.get(target, {})}[self.operation]
        text = self.genuine()[1].decode()
        body = text.split(self.nonce + ":BEGIN")[1].split(self.nonce + ":END")[0]
        return json.loads(zlib.decompress(base64.b64decode(body)).decode())


def script_of(home, script):
    """role/script of what was sent: the last one whose first words are in it, for what it imports comes before it."""
    with open(os.path.join(home, "index.json"), encoding="utf-8") as stream:
        index = json.load(stream)
    return index[max(index, key=script.decode().rfind)]


def write(data, to=1):
    """All of `data` is written; False once nobody reads any more."""
    try:
        while data:
            data = data[os.write(to, data[: 1 << 16]) :]
    except OSError:
        return False
    return True


def note(home, name, text):
    """One more line in a log of the hostile host."""
    with open(os.path.join(home, name), "a", encoding="utf-8") as stream:
        stream.write(text + "\n")


def main():
    home, canary, behaviour, target, *words = sys.argv[1:]
    framed = len(words) == 5 and words[:2] == ["-ISB", "-c"]
    if not framed:
        if target == "preflight" and words:
            wire.ACTS[behaviour](write, b"", "")
        os.execv(sys.executable, [sys.executable, *words])
    signal.alarm(LONGEST)
    asked = Asked(home, words)
    evil = behaviour != "honest" and (target == "*" or (asked.operation + "/").startswith(target.rstrip("/") + "/"))
    note(home, "calls", json.dumps([behaviour, target, asked.operation, evil]))
    row = Row(behaviour, asked.operation, canary, home)
    if evil and behaviour.startswith("instead:"):
        with open(behaviour.partition(":")[2], "rb") as stream:
            write(wire.frame(asked.nonce, stream.read()))
        return
    good = asked.document(home, target)
    if not evil:
        write(wire.frame(asked.nonce, json.dumps(good).encode()))
    elif behaviour.startswith("payload:"):
        with open(behaviour.partition(":")[2], encoding="utf-8") as stream:
            write(wire.frame(asked.nonce, json.dumps({**good, **json.load(stream)}).encode()))
    elif behaviour in answers.ANSWERS:
        body = answers.ANSWERS[behaviour].make(good, row)
        if json.loads(json.dumps(good)) == body:
            note(home, "same", json.dumps([behaviour, target]))
        write(wire.frame(asked.nonce, body if isinstance(body, bytes) else json.dumps(body).encode()))
    elif behaviour in wire.WIRE:
        write(wire.WIRE[behaviour](asked.nonce, json.dumps(good).encode(), row))
    else:
        taken = wire.ACTS[behaviour](write, json.dumps(good).encode(), asked.nonce)
        note(home, "taken", json.dumps([behaviour, target, taken]))


main()
