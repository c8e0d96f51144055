"""How each engine runs, natively and in containers: settings, units, documents."""
