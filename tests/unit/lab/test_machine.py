"""What a lab takes from the machine under it: capabilities, lxcfs, certificate authorities."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi4_edge.lab import machine

PEM = "-----BEGIN CERTIFICATE-----\nQUJD{}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("0000000000000001", ("CHOWN",)),
        ("0000000000200002", ("DAC_OVERRIDE", "SYS_ADMIN")),
        ("0000000000000000", ()),
        ("0000004000000000", ()),  # bit 38, PERFMON: not passed on
    ],
)
def test_capabilities_are_those_of_the_bounding_set(mask: str, expected: tuple[str, ...]) -> None:
    status = f"Name:\tx\nCapEff:\tffffffffffffffff\nCapBnd:\t{mask}\nCapAmb:\t0000000000000000\n"
    assert machine.capabilities(status) == expected


def test_a_machine_without_sys_resource_does_not_pass_it_on() -> None:
    names = machine.capabilities("CapBnd:\t000001fffeffffff\n")
    assert "SYS_RESOURCE" not in names
    assert set(machine.CAPABILITIES) - set(names) == {"SYS_RESOURCE"}


def test_a_status_without_the_line_gives_no_capabilities() -> None:
    assert machine.capabilities("Name:\tx\n") == ()


def test_lxcfs_files_are_bound_as_far_as_they_exist(tmp_path: Path) -> None:
    assert machine.lxcfs_binds(tmp_path) == ()
    (tmp_path / "proc").mkdir()
    for name in ("meminfo", "cpuinfo", "slabinfo"):
        (tmp_path / "proc" / name).touch()
    expected = tuple(f"{tmp_path}/proc/{name}:/proc/{name}:rw" for name in ("meminfo", "cpuinfo"))
    assert machine.lxcfs_binds(tmp_path) == expected


def test_the_bundle_that_the_environment_names_is_trusted_in_the_image(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(("junk\n" + PEM.format(1) + PEM.format(2).replace("\n", "\r\n")).encode())
    assert machine.local_certificates({"SSL_CERT_FILE": str(bundle)}) == (PEM.format(1), PEM.format(2))
