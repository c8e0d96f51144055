"""Looks before Ansible starts: is each host there, is it the one we know, does it let us in, can we become root."""

from __future__ import annotations

from phi4_edge.ssh.check import check
from phi4_edge.ssh.finding import Kind, Refusal

__all__ = ["Kind", "Refusal", "check"]
