"""The Go gateway's `config.json`: every field is taken over, noted as left out, or a problem."""
