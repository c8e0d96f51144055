"""What lets clients in at gateways, on this controller: keys by digest, and certificates with their private keys."""
