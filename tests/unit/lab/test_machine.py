"""What a lab takes from the machine under it: capabilities, lxcfs, certificate authorities; and the image's recipe."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from phi4_edge.lab import image, machine, model

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


def test_equal_recipes_have_equal_tags_and_a_change_makes_another() -> None:
    bare = image.recipe("bare", ())
    assert bare.tag == image.recipe("bare", ()).tag
    assert bare.tag.startswith("phi4-edge-lab:bare-")
    others = {image.recipe("docker", ()).tag, image.recipe("bare", (PEM.format(1),)).tag}
    assert len({bare.tag, *others}) == 3


def test_only_the_docker_image_has_docker() -> None:
    assert "docker.io" not in image.recipe("bare", ()).packages
    assert {"docker.io", "docker-compose", "systemd"} <= set(image.recipe("docker", ()).packages)


def test_the_overlay_has_safe_modes_and_masks() -> None:
    overlay = image.recipe("bare", (PEM.format(1),)).overlay
    with tarfile.open(fileobj=io.BytesIO(overlay)) as tar:
        entries = {entry.name: entry for entry in tar}
    assert {entry.uid for entry in entries.values()} == {0}
    assert entries["etc/sudoers.d/lab"].mode == 0o440
    assert entries["usr/local/sbin/lab-init"].mode == 0o755
    assert entries["etc/ssh/sshd_config.d/lab.conf"].mode == 0o644
    assert entries["etc/systemd/system/systemd-modules-load.service"].linkname == "/dev/null"
    assert "usr/local/share/ca-certificates/machine-0.crt" in entries


def test_root_builds_in_namespaces_of_its_own() -> None:
    bare = image.recipe("bare", ())
    command = image.bootstrap_command(bare, Path("/t/o.tar"), Path("/t/r.tar"), root=True)
    assert command[0] == "unshare"
    assert {"--mount", "--pid", "--kill-child"} <= set(command)
    assert command[-2:] == ["trixie", "/t/r.tar"]
    assert image.bootstrap_command(bare, Path("/t/o.tar"), Path("/t/r.tar"), root=False)[0] == "mmdebstrap"


def test_the_dockerfile_follows_the_same_recipe() -> None:
    text = image.dockerfile(image.recipe("bare", ()))
    assert text.startswith("FROM debian:trixie-slim\n")
    assert "openssh-server" in text
    assert "customize.sh" in text


def test_only_the_mirrors_image_has_what_it_serves_with() -> None:
    mirror = image.recipe("mirror", ())
    assert {"docker-registry", "nginx", "openssh-server"} <= set(mirror.packages)
    with tarfile.open(fileobj=io.BytesIO(mirror.overlay)) as tar:
        names = {entry.name for entry in tar}
    assert {"etc/docker/registry/config.yml", "etc/nginx/nginx.conf"} <= names
    with tarfile.open(fileobj=io.BytesIO(image.recipe("bare", ()).overlay)) as tar:
        assert not any("nginx" in entry.name for entry in tar)


def test_the_mirrors_files_listen_where_the_labs_functions_say() -> None:
    with tarfile.open(fileobj=io.BytesIO(image.recipe("mirror", ()).overlay)) as tar:
        texts = {name: tar.extractfile(name) for name in ("etc/docker/registry/config.yml", "etc/nginx/nginx.conf")}
        registry, files = [member.read().decode() for member in texts.values() if member]
    assert f"addr: :{model.REGISTRY_PORT}\n" in registry
    assert f"listen {model.FILES_PORT};\n" in files
