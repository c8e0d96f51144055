"""Container images: fetched, built, and held by their digests."""
