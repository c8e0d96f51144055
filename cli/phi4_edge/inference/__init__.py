"""One client of the engines' API, and what an answer is worth."""
