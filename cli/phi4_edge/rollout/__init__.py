"""Drives hosts from facts to receipt, through the runner."""
