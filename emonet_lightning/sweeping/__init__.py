"""Sweeps: many configurations of one run, and which of them is best on validation."""
