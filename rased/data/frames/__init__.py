"""Frame features of a corpus in one HDF5 file: write, probe, read."""
