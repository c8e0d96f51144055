"""Reads an inventory through Ansible's own loader, with all that it understands, and returns frozen hosts.

An inventory is code: its templates and executable sources run on the controller, here as in every Ansible run.
"""

from phi4_edge.core.inventory import Host, SshSettings, VaultSecret
from phi4_edge.inventory.connection import unchecking
from phi4_edge.inventory.extra_vars import documents_of
from phi4_edge.inventory.loader import load

__all__ = ["Host", "SshSettings", "VaultSecret", "documents_of", "load", "unchecking"]
