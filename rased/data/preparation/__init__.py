"""Prepare shards and frozen test sets from recordings."""
