"""Leak audit: images that training and test sets share, whatever was done to the file in between."""
