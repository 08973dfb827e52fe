"""The providers of a client while it runs: settings, addresses, keys, health and pools."""
