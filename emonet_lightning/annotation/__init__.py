"""Annotation with people: campaigns in a Label Studio server of the user's, blind preference studies; no Lightning."""
