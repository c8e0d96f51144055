"""Everything that a fleet needs in one file, for sites without a network."""
