"""Frame features of a corpus in one HDF5 file: written, probed, read."""
