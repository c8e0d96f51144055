"""Disposable gateways on Docker: systemd, sshd, honest RAM and CPUs."""
