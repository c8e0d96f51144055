"""Certificates of gateways: the fleet's CA on this controller, what it issues, and an operator's own."""
