"""Serves one ONNX chat model on a gateway over HTTP."""

__version__ = "0.1.0"
