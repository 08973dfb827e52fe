"""The queue and the workers of a provider, and what a worker does for one attempt."""
