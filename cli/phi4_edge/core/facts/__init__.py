"""From what a host sent to what is known of it."""
