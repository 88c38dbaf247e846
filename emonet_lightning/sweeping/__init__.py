"""Sweeps: a W&B sweep file, run here without a server or account."""
