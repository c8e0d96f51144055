"""Turns results into tables, JSON and YAML. Returns text; printing is for commands."""
