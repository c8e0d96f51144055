"""Local users of a gateway who want its port, as programs that run there."""

from __future__ import annotations

# Root makes it when they have tried for long enough.
ENOUGH = "/run/enough"

# argv: port, connections to hold, seconds to try for at most. Prints `held N`, then `bound` or `no luck`.
SQUATTER = f"""
import os, resource, socket, sys, time
going = lambda: time.monotonic() < end and not os.path.exists({ENOUGH!r})
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
port, wanted, seconds = map(int, sys.argv[1:4])
end, held = time.monotonic() + seconds, []
for _ in range(wanted):
    try:
        held.append(socket.create_connection(("127.0.0.1", port), 2))
    except OSError:
        break
print("held", len(held), flush=True)
while going():
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", port))
            taken.listen()
            print("bound", flush=True)
            while going():
                time.sleep(0.1)
            sys.exit()
        except OSError:
            time.sleep(0.002)
print("no luck", flush=True)
"""

# argv: port, seconds at most. Connects all the time, so that a socket has a client whenever it could start something.
HAMMER = f"""
import os, socket, sys, time
end, held = time.monotonic() + float(sys.argv[2]), []
while time.monotonic() < end and not os.path.exists({ENOUGH!r}):
    try:
        held = [*held[-20:], socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1)]
    except OSError:
        pass
    time.sleep(0.05)
"""
