"""What a host gets for its plan: the units, settings and programs of its release."""
