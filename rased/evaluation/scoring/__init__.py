"""A system on a test set: enhanced, measured, computed again."""
