"""The controller-side store: what is fetched, converted and built once and pushed to gateways."""
