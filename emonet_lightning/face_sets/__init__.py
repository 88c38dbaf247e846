"""Sets of real faces: how each one's files lie, read by one reader, and passed through a frozen encoder."""
