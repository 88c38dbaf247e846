"""Annotation with people: campaigns in a Label Studio server of the user's, reached over HTTP; imports no Lightning."""
