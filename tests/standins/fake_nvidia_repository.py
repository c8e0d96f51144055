"""NVIDIA's apt repository of the container toolkit as a lab sees it, and packages of a fake driver.

What it leaves out: everything that touches a device. The packages have the vendor's names, versions and relations;
nvidia-ctk is fake_nvidia_ctk.py; nvidia-cdi-refresh.service runs it as the vendor's does.
"""

from __future__ import annotations

from pathlib import Path

from tests.standins.apt_repository import ARCHITECTURE, Package, export, key, publish

TOOLKIT = "1.20.0"
DRIVER = "580.95.05"
_UNIT = """[Unit]
Description=Refresh NVIDIA CDI specification file (lab)

[Service]
Type=oneshot
Environment=NVIDIA_CTK_CDI_OUTPUT_FILE_PATH=/var/run/cdi/nvidia.yaml
ExecStart=/usr/bin/nvidia-ctk cdi generate

[Install]
WantedBy=multi-user.target
"""
_PATH = """[Unit]
Description=Trigger CDI refresh on changes of the driver (lab)

[Path]
PathChanged=/lib/modules

[Install]
WantedBy=multi-user.target
"""
_DRIVER_TOOL = """#!/bin/sh
# A fake of nvidia-smi: the driver's module is loaded from the next boot on.
if cmp --quiet KNOWN /proc/sys/kernel/random/boot_id; then
    echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    exit 9
fi
echo "0, NVIDIA GeForce RTX 3060, 12288, 13, VERSION, 8.6, GPU-3f1c9a52-8c1f-6f0e-9f35-5d3b8f9f8a10"
"""
_RUNTIME = '#!/bin/sh\nexec runc "$@"\n'


def toolkit(version: str) -> list[Package]:
    """The four packages of one release."""
    full = f"{version}-1"
    tool = Path(__file__).with_name("fake_nvidia_ctk.py").read_text().replace('"1.20.0"', f'"{version}"')
    units = "/usr/lib/systemd/system/nvidia-cdi-refresh"
    base = {
        "/usr/bin/nvidia-ctk": (tool, 0o755), "/usr/bin/nvidia-container-runtime": (_RUNTIME, 0o755),
        f"{units}.service": (_UNIT, 0o644), f"{units}.path": (_PATH, 0o644),
    }  # fmt: skip
    return [
        Package("libnvidia-container1", full),
        Package("libnvidia-container-tools", full, [f"libnvidia-container1 (>= {full})"]),
        Package("nvidia-container-toolkit-base", full, ["python3"], base),
        Package(
            "nvidia-container-toolkit", full,
            [f"nvidia-container-toolkit-base (= {full})", f"libnvidia-container-tools (>= {full})"],
        ),
    ]  # fmt: skip


def driver() -> list[Package]:
    """The driver of Debian under its names. Its nvidia-smi answers from the boot after the installation on."""
    known = "/var/lib/fake-nvidia/boot_id"
    tool = _DRIVER_TOOL.replace("KNOWN", known).replace("VERSION", DRIVER)
    remember = f"#!/bin/sh\nmkdir -p {Path(known).parent}\ncp /proc/sys/kernel/random/boot_id {known}\n"
    headers = f"linux-headers-{ARCHITECTURE}"
    names = ("libcuda1", "libnvidia-ml1", "firmware-nvidia-gsp", headers, "nvidia-kernel-dkms")
    # Newer than what Debian's own sources offer under the same name.
    return [
        *(Package(name, "999.0") for name in names),
        Package("nvidia-smi", "999.0", files={"/usr/bin/nvidia-smi": (tool, 0o755)}, scripts={"postinst": remember}),
    ]


def make(top: Path, _sources: str) -> str:
    """`top`/stable/deb/<architecture>, the key in `gpgkey`, and `top`/driver; returns the key's fingerprint."""
    with key("Fake NVIDIA (lab)") as home:
        found = [*toolkit(TOOLKIT), *toolkit("1.16.0"), Package("nvidia-docker2", "2.14.0-1")]
        publish(home, top / "stable" / "deb" / ARCHITECTURE, found, "/", "")
        publish(home, top / "driver", driver(), "/", "")
        return export(home, top / "gpgkey")
