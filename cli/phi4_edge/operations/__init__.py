"""The verbs: what each command does to a fleet, without a word about how it is asked or shown."""
