"""How a stream's bytes are cut into events."""
