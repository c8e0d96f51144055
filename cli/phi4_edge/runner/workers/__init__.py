"""Plays that run on other machines than the one where the command was given."""
