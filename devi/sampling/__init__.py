"""Batched sampling of the localized posterior, all checkpoints and chains at once."""
