"""Signed bundles: minisign's keys and signatures, what is signed, and which keys this controller trusts."""
