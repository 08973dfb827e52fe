"""Credentials that expire: what a token is, and the sources that fetch one with a vendor's SDK (extras)."""
