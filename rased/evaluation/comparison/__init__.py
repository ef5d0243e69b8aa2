"""Who compares with whom, and what may be claimed."""
