"""Runs on a lab gateway: ports behind which nobody speaks SSH as one should. Standard library only.

Usage: doorstep.py PORT=BEHAVIOUR...
"""

import contextlib
import os
import socket
import sys
import threading
import time


def silent(_client):
    """Accepts, and says nothing."""
    time.sleep(3600)


def drip(client):
    """A banner, one letter a second, that never ends."""
    for letter in b"SSH-2.0-" + b"x" * 10000:
        client.sendall(bytes([letter]))
        time.sleep(1)


def garbage(client):
    """Random bytes, lines among them."""
    client.sendall(os.urandom(4096) + b"\r\n")
    time.sleep(60)


def endless(client):
    """Lines before the banner, which never comes, as fast as they are read."""
    while True:
        client.sendall(b"welcome to this gateway\r\n" * 400)


def web(client):
    """A web server."""
    client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def hangup(_client):
    """Accepts, and closes."""


BEHAVIOURS = {found.__name__: found for found in (silent, drip, garbage, endless, web, hangup)}


def behave(client, behaviour):
    with client, contextlib.suppress(OSError):  # whoever has had enough leaves
        behaviour(client)


def serve(listener, behaviour):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=behave, args=(client, behaviour), daemon=True).start()


def main():
    for word in sys.argv[1:]:
        port, name = word.split("=")
        listener = socket.create_server(("", int(port)), backlog=128)
        threading.Thread(target=serve, args=(listener, BEHAVIOURS[name])).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
