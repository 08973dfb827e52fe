"""Plugins: the base class and the chain of a client's plugins, and the plugins that are part of bifrost."""
