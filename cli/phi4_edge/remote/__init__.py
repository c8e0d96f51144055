"""Both ends of the wire to a host: a script goes there, one answer comes back, held to bound, deadline and schema."""
