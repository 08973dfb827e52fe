"""Reports of a client, as values that print as tables: what it is doing, how it is configured, what a call would do."""
