"""Transitions: found, dated, typed; numpy and scipy only."""
