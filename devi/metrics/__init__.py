"""Quantities followed over training, one family a file."""
