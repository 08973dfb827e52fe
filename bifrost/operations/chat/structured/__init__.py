"""Structured output: types as JSON schemas, and how a response of such a type is requested and read."""
