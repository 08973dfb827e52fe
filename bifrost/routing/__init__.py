"""Decisions about a call: its candidates, its key, and what follows a failure. Pure: nothing here waits or sends."""
