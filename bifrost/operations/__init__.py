"""The operations: requests, responses and chunks, the same for all providers. Values only, without I/O."""
