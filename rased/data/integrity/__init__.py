"""Whether shards are whole, and how damaged ones are repaired."""
