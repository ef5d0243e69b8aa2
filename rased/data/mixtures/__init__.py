"""Mixtures on the fly: what is drawn, in which order, read, mixed and distorted."""
