"""Checkpoints: one HDF5 record each, written so that a killed writer harms nothing, read without trust."""
