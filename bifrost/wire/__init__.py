"""Bytes and HTTP as values: framing, decoding, signing. No sockets here."""
