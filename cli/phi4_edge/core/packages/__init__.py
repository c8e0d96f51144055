"""What is installed on a host from its distribution or a vendor, and on whose word."""
