"""The face front end: from photos and videos of any framing to the face pictures that heads are trained on."""
