"""Framing: how the bytes of a stream are divided into events."""
