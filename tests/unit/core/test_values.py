"""Directories of our own on a host, as an inventory may name them."""

from __future__ import annotations

from typing import Any

import pytest

from phi4_edge.core import values
from phi4_edge.core.layout import IN_ROOT, IN_STATE, STANDARD, Layout
from phi4_edge.core.plan.overrides import Overrides
from phi4_edge.errors import InventoryError


@pytest.mark.parametrize(
    "path",
    [
        *("/data/phi4-edge", "/opt/phi4-edge", "/var/lib/phi4-edge", "/mnt/data/edge", "/srv/phi4", "/var/opt/phi4"),
        *("/media/usb0/phi4.d", "/usrdata/phi4", "/etc2/x", "/data/_x", "/d/" + "x" * 97),
    ],
)
def test_a_directory_of_its_own_is_taken_as_it_is(path: str) -> None:
    assert values.directory(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("/", "", "/data", "data/phi4", "./x/y", "/data/", "/data//phi4", "/data/phi4/", "/data/../etc", "/data/./x"),
        *("/usr", "/usr/local", "/usr/share/phi4", "/etc", "/etc/phi4", "/proc/1", "/sys/fs", "/dev/shm", "/boot/x"),
        *("/run/phi4", "/tmp/phi4", "/var/tmp/phi4", "/home/me", "/root/phi4", "/var/run/x", "/var/lib", "/var/opt"),
        *("/var/lib/docker", "/var/lib/docker/phi4", "/var/lib/dpkg/x", "/var/lib/systemd", "/bin/x", "/sysroot/x"),
        *("/data/a b", "/data/a\tb", "/data/a\nb", "/data/%n", "/data/$HOME", "/data/`id`", "/data/a;b", "/data/a:b"),
        *('/data/"a', "/data/'a", "/data/a\\b", "/data/{{ x }}", "/data/a#b", "/data/a,b", "/data/~x", "/data/*"),
        *("/data/.phi4", "/data/-x", "/data/é", "/data/\u202e", "/data/a\0", "~/phi4", "/d/" + "x" * 98),
        *(None, 7, True, ["/data/phi4"], {"a": 1}, b"/data/phi4"),
    ],
)
def test_anything_else_is_refused_with_what_is_needed(path: Any) -> None:
    with pytest.raises(ValueError, match=r"an absolute path of a directory of its own, such as /data/phi4-edge"):
        values.directory(path)
    with pytest.raises(
        InventoryError, match=r"gw1: phi4_state: found .*, needed an absolute path.* nothing was changed"
    ):
        Overrides.from_vars("gw1", {"phi4_state": path})


@pytest.mark.parametrize(
    ("root", "state"),
    [
        ("/data/phi4", "/data/phi4"),
        *(("/data/phi4", f"/data/phi4/{name}") for name in IN_ROOT),
        ("/data/phi4", "/data/phi4/releases/state"),
        *((f"/data/phi4/{name}", "/data/phi4") for name in IN_STATE if "." not in name),
        ("/data/phi4/models/programs", "/data/phi4"),
    ],
)
def test_neither_lies_in_what_the_other_holds(root: str, state: str) -> None:
    with pytest.raises(InventoryError, match=f"phi4_root, phi4_state: found {root} and {state}, needed a directory"):
        Overrides.from_vars("gw1", {"phi4_root": root, "phi4_state": state})


@pytest.mark.parametrize(
    ("root", "state"),
    [
        ("/data/phi4", "/data/phi4-state"),
        ("/data/phi4", "/data/phi4/state"),
        ("/data/phi4/programs", "/data/phi4"),
        ("/data/phi4", "/data/phi4/releases-state"),
    ],
)
def test_they_may_lie_beside_each_other_or_one_in_the_other(root: str, state: str) -> None:
    found = Overrides.from_vars("gw1", {"phi4_root": root, "phi4_state": state})
    assert found.layout == Layout(root, state)


def test_each_has_its_standard_place() -> None:
    assert Overrides.from_vars("gw1", {}).layout == STANDARD == Layout("/opt/phi4-edge", "/var/lib/phi4-edge")
    assert Overrides.from_vars("gw1", {"phi4_state": "/data/phi4"}).layout == Layout("/opt/phi4-edge", "/data/phi4")
    assert values.layout(STANDARD.root, STANDARD.state) == STANDARD


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("none", 0), ("", 0), (None, 0), ("64kbit", 8_000), ("20Mbit", 2_500_000), ("1.5 Mbit", 187_500),
        ("1Gbit", 125_000_000),
    ],
)  # fmt: skip
def test_a_bandwidth_is_bits_per_second(text: object, found: int) -> None:
    assert values.rate(text) == found


@pytest.mark.parametrize(
    "text", ["20", 20, "20M", "20mbit", "20MB/s", "-1Mbit", "63kbit", "1e3Mbit", "Mbit", True, "2Mbit/s"]
)
def test_another_spelling_of_a_bandwidth_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="bits per second as 64kbit"):
        values.rate(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("none", ("", 0)), (None, ("", 0)), ("192.0.2.5", ("192.0.2.5", 0)), ("192.0.2.5:8700", ("192.0.2.5", 8700)),
        ("2001:DB8::5", ("2001:db8::5", 0)), ("[2001:db8::5]:8700", ("2001:db8::5", 8700)), ("[::1]", ("::1", 0)),
    ],
)  # fmt: skip
def test_an_endpoint_is_an_address_with_or_without_a_port(text: object, found: tuple[str, int]) -> None:
    assert values.endpoint(text) == found


@pytest.mark.parametrize(
    "text", ["0.0.0.0", "::", "[::]:80", "gw1", "gw1:80", "192.0.2.5:99999", "192.0.2.5:", "1.2.3:80", 7]
)
def test_what_nobody_can_be_told_to_connect_to_is_no_endpoint(text: object) -> None:
    with pytest.raises(ValueError, match="an IP address of the controller"):
        values.endpoint(text)
