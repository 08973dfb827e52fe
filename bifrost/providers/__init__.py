"""The providers: dialects, each a file or folder, and the `Provider` values made of them. Pure functions of values."""
