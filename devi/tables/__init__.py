"""Tables of curves from other programs: CSV, JSON, JSONL, NPZ, netCDF; no torch."""
