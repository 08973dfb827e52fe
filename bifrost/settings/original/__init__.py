"""The Go gateway's `config.json`: each field is converted, reported as ignored, or reported as a problem."""
