"""From published weights to what engines read, by the real tools in environments of their own."""
