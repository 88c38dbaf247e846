"""Ratings as people store them: label files read into long form; imports no Lightning."""
