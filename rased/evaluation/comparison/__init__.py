"""Compare results: which rows are comparable, significance, ranks, warnings."""
