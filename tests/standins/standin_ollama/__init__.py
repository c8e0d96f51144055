"""A stand-in for Ollama; `__main__.py` says what it holds to and what it leaves out."""
