"""Studies with people: what they are shown, what they answer, and what follows from it."""
