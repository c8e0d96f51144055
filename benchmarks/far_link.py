#!/usr/bin/env python3
"""Runs in a lab host: what the host sends to one address arrives later, and some of it never. Standard library only.

For kernels without sch_netem. The packets are routed into a tunnel device, of which this program is the other end; they
leave by the host's own interface. Usage: far_link.py ADDRESS MILLISECONDS LOSS_PERCENT
"""

import collections
import fcntl
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

DEVICE, OUT = "far0", "eth0"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
ETHERTYPE_IP = 0x0800
MOST_QUEUED = 10000  # packets, as netem's own limit here


def tunnel():
    """A file whose reads are packets that the kernel sends to the device."""
    if not os.path.exists("/dev/net/tun"):
        os.makedirs("/dev/net", exist_ok=True)
        os.mknod("/dev/net/tun", 0o20600, os.makedev(10, 200))
    made = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(made, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    return made


def hardware_address(address):
    """Of a neighbour: something is sent to it, then the kernel knows."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _ in range(50):
            probe.sendto(b"", (address, 9))
            with open("/proc/net/arp") as table:
                for line in table.read().splitlines()[1:]:
                    found = line.split()
                    if found[0] == address and found[3] != "00:00:00:00:00:00":
                        return bytes.fromhex(found[3].replace(":", ""))
            time.sleep(0.1)
    sys.exit("found no neighbour %s, needed the controller's address on this network" % address)


def forward(device, send, delay, loss):
    """For ever: each packet waits `delay` seconds, or is lost with the probability `loss`."""
    chance, waiting = random.Random(), collections.deque()
    while True:
        timeout = None if not waiting else max(0.0, waiting[0][0] - time.monotonic())
        if select.select([device], [], [], timeout)[0]:
            packet = os.read(device, 65536)
            if packet[0] >> 4 == 4 and chance.random() >= loss and len(waiting) < MOST_QUEUED:
                waiting.append((time.monotonic() + delay, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            send(waiting.popleft()[1])


def main():
    address, delay, loss = sys.argv[1], float(sys.argv[2]) / 1000, float(sys.argv[3]) / 100
    neighbour, device = hardware_address(address), tunnel()
    # Answers come in by another interface than the one that leads back: no reverse path filter.
    for name in ("all", OUT):
        with open("/proc/sys/net/ipv4/conf/%s/rp_filter" % name, "w") as setting:
            setting.write("0")
    own = subprocess.check_output(["ip", "-4", "-o", "route", "get", address], text=True).split("src ")[1].split()[0]
    subprocess.check_call(["ip", "link", "set", DEVICE, "up"])
    subprocess.check_call(["ip", "route", "add", address + "/32", "dev", DEVICE, "src", own])
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    print("ready", flush=True)
    forward(device, lambda packet: wire.sendto(packet, (OUT, ETHERTYPE_IP, 0, 0, neighbour)), delay, loss)


if __name__ == "__main__":
    main()
