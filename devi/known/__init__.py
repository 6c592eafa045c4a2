"""Losses whose local learning coefficient is known, and the points where it is: what estimates are checked on."""
