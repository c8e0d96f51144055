"""Serves ranges of files of the store to the hosts of one run, and says what each piece of a file must hash to."""
