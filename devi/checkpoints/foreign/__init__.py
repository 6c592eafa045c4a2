"""Foreign checkpoints: files that other programs wrote, listed lazily, read one at a time, made into a run."""
