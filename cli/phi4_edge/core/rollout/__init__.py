"""A fleet in waves: outcomes, budget, and what comes next."""
