"""Mixtures on the fly: draw, order, read, mix and distort."""
