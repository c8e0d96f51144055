"""What comes from others: models, archives, their lists."""
