"""Disposable gateways on Docker: systemd, sshd, honest RAM and CPUs."""

from phi4_edge.lab import mirror
from phi4_edge.lab.fleet import Status, down, down_all, drop_images, listing, load, up
from phi4_edge.lab.model import Lab, LabHost, check_name
from phi4_edge.lab.profiles import Profile, Profiles
from phi4_edge.lab.profiles import load as load_profiles
from phi4_edge.lab.recipe import check_system, systems
from phi4_edge.lab.ssh import ssh_command

__all__ = [
    "Lab",
    "LabHost",
    "Profile",
    "Profiles",
    "Status",
    "check_name",
    "check_system",
    "down",
    "down_all",
    "drop_images",
    "listing",
    "load",
    "load_profiles",
    "mirror",
    "ssh_command",
    "systems",
    "up",
]
