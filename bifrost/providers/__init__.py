"""The providers: dialects, a file or folder each, and the rows made of them. Pure functions of values."""
