"""Plugins: the base class with its chain, and those that are shipped."""
