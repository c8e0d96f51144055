"""The controller-side store: folders by digest, and what is known of each."""
