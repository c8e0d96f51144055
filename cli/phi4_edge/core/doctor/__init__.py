"""What stands in the way on a host, and what to do about it."""
