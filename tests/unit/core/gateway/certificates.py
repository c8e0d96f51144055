"""A certificate of localhost, as an operator would bring it: one PEM file with chain and key."""

from __future__ import annotations

import subprocess
from pathlib import Path


def certificate(folder: Path) -> Path:
    """The file, in `folder`; it signs itself, and is good for two days."""
    whole = folder / "certificate.pem"
    options = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    named = ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "chain.pem")]
    made = ["openssl", "req", "-x509", *options.split(), *named, *files]
    subprocess.run(made, check=True, capture_output=True)
    whole.write_text((folder / "chain.pem").read_text() + (folder / "key.pem").read_text())
    return whole
