"""What holds for every test: time is never what it depends on."""

from __future__ import annotations

from hypothesis import settings

# A machine that does other things too is slow for a moment: an example has no deadline.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
