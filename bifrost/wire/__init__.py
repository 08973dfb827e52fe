"""Bytes and HTTP as values: framing, decoding, authentication. There are no sockets here."""
