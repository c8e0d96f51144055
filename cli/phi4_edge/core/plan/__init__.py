"""What a host shall run, why, and what changes."""
