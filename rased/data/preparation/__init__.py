"""From recordings to shards and frozen test sets."""
