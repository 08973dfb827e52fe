"""Decisions about a call: where it goes, with which key, what follows a failure. Pure: nothing here waits or sends."""
