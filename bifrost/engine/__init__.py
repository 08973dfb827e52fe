"""Everything that waits: the path of a call, pools and workers, connections, streams, the client's life."""
