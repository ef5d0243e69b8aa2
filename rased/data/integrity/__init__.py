"""Check whether shards are complete, and repair damaged ones."""
