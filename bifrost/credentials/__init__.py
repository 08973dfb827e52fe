"""Credentials that expire: what a token is, and who fetches one."""
