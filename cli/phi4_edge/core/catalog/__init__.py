"""What there is: models, engines, images, and the resource table."""
