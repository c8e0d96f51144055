"""What images of lab hosts are made of, by kind and operating system."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from phi4_edge.errors import LabError
from phi4_edge.lab import boot, image, model, recipe
from phi4_edge.lab.profiles import load

PEM = "-----BEGIN CERTIFICATE-----\nQUJD{}\n-----END CERTIFICATE-----\n"


def test_equal_recipes_have_equal_tags_and_a_change_makes_another() -> None:
    bare = recipe.recipe("bare", ())
    assert bare.tag == recipe.recipe("bare", ()).tag
    assert bare.tag.startswith("phi4-edge-lab:bare-")
    others = {recipe.recipe("docker", ()).tag, recipe.recipe("bare", (PEM.format(1),)).tag}
    assert len({bare.tag, *others}) == 3


def test_only_the_docker_image_has_docker() -> None:
    assert "docker.io" not in recipe.recipe("bare", ()).packages
    assert {"docker.io", "docker-compose", "systemd"} <= set(recipe.recipe("docker", ()).packages)


def test_the_overlay_has_safe_modes_and_masks() -> None:
    overlay = recipe.recipe("bare", (PEM.format(1),)).overlay
    with tarfile.open(fileobj=io.BytesIO(overlay)) as tar:
        entries = {entry.name: entry for entry in tar}
    assert {entry.uid for entry in entries.values()} == {0}
    assert entries["etc/sudoers.d/lab"].mode == 0o440
    assert entries["usr/local/sbin/lab-init"].mode == 0o755
    assert entries["etc/ssh/sshd_config.d/lab.conf"].mode == 0o644
    assert entries["etc/systemd/system/systemd-modules-load.service"].linkname == "/dev/null"
    assert "usr/local/share/ca-certificates/machine-0.crt" in entries


def test_root_builds_in_namespaces_of_its_own() -> None:
    bare = recipe.recipe("bare", ())
    command = image.bootstrap_command(bare, Path("/t/o.tar"), Path("/t/r.tar"), root=True)
    assert command[0] == "unshare"
    assert {"--mount", "--pid", "--kill-child"} <= set(command)
    assert command[-2:] == ["trixie", "/t/r.tar"]
    assert image.bootstrap_command(bare, Path("/t/o.tar"), Path("/t/r.tar"), root=False)[0] == "mmdebstrap"


def test_the_dockerfile_follows_the_same_recipe() -> None:
    text = image.dockerfile(recipe.recipe("bare", ()))
    assert text.startswith("FROM debian:trixie-slim\n")
    assert "openssh-server" in text
    assert "customize.sh" in text


def test_only_the_mirrors_image_has_what_it_serves_with() -> None:
    mirror = recipe.recipe("mirror", ())
    assert {"docker-registry", "nginx", "openssh-server"} <= set(mirror.packages)
    with tarfile.open(fileobj=io.BytesIO(mirror.overlay)) as tar:
        names = {entry.name for entry in tar}
    assert {"etc/docker/registry/config.yml", "etc/nginx/nginx.conf"} <= names
    with tarfile.open(fileobj=io.BytesIO(recipe.recipe("bare", ()).overlay)) as tar:
        assert not any("nginx" in entry.name for entry in tar)


def test_the_mirrors_files_listen_where_the_labs_functions_say() -> None:
    with tarfile.open(fileobj=io.BytesIO(recipe.recipe("mirror", ()).overlay)) as tar:
        texts = {name: tar.extractfile(name) for name in ("etc/docker/registry/config.yml", "etc/nginx/nginx.conf")}
        registry, files = [member.read().decode() for member in texts.values() if member]
    assert f"addr: :{model.REGISTRY_PORT}\n" in registry
    assert f"listen {model.FILES_PORT};\n" in files


def test_each_operating_system_has_images_of_its_own() -> None:
    assert recipe.systems()[0] == "debian-13"
    made = [recipe.recipe(kind, (), system) for kind in recipe.HOST_KINDS for system in recipe.systems()]
    assert len({one.tag for one in made}) == len({one.name for one in made}) == 6
    assert [one.suite for one in made[:3]] == ["trixie", "bookworm", "bullseye"]
    assert recipe.recipe("bare", (), "debian-13") == recipe.recipe("bare", ())
    command = image.bootstrap_command(made[2], Path("/t/o.tar"), Path("/t/r.tar"), root=True)
    assert command[-2:] == ["bullseye", "/t/r.tar"]


def test_what_a_system_does_not_have_is_borrowed_with_its_libraries() -> None:
    older = recipe.recipe("docker", (), "debian-12")
    assert older.lender == recipe.recipe("docker", ()) and "docker-compose" not in older.packages
    with tarfile.open(fileobj=io.BytesIO(older.overlay)) as tar:
        assert tar.getmember("usr/local/lib/docker/cli-plugins/docker-compose").mode == 0o755
    lent = {"/usr/bin/program": b"program", "/usr/lib/libc.so.6": b"library"}
    with tarfile.open(fileobj=io.BytesIO(recipe.join(older.overlay, lent))) as tar:
        names = {entry.name for entry in tar}
    assert {f"{recipe.LENT}/usr/bin/program", f"{recipe.LENT}/usr/lib/libc.so.6", "etc/sudoers.d/lab"} <= names
    for kind, system in (("bare", "debian-11"), ("docker", "debian-13")):
        assert recipe.recipe(kind, (), system).lender is None


@pytest.mark.parametrize("wanted", ["debian-10", "ubuntu-24.04", "Debian-12", ("debian-12", "sid"), ("debian-12",)])
def test_another_system_or_number_of_them_is_refused(wanted: str | tuple[str, ...]) -> None:
    with pytest.raises(LabError, match=r"debian-11, debian-12, debian-13|1 operating systems for 2 hosts"):
        boot.wish("dev", load().choose(hosts=2), "bare", wanted, offline=False, mirror=False)


def test_hosts_have_the_systems_asked_for() -> None:
    wanted = boot.wish("dev", load().choose(hosts=2), "bare", ["debian-11", "debian-13"], offline=False, mirror=False)
    assert wanted.systems == ("debian-11", "debian-13")
    assert boot.wish("dev", load().choose(hosts=2), "bare", "", False, False).systems == ("debian-13",) * 2
