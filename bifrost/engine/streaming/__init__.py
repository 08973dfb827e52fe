"""Streams: how they are opened, read, supervised and ended."""
