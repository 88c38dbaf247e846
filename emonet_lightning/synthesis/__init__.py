"""Procedural faces and their labels."""
