"""Runs plays: the only room that knows ansible-runner."""
