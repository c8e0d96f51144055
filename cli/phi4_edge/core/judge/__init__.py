"""What stands in the way on a host, whoever asks: the plan's blockers and warnings, and the doctor's findings."""
