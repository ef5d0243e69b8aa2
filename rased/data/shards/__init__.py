"""Shards on disk and elsewhere: index, tars, codecs, blocks and their cache."""
