"""Sampling the localized posterior around every checkpoint of a run."""
