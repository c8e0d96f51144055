"""What a rollout did, as text, Markdown and a page."""
