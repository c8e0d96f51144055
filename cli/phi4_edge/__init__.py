"""phi4-edge: serve Phi-4-mini-instruct on a fleet of gateways."""

__version__ = "0.1.0"
