"""Reports and figures, written from what evaluation found; imports no Lightning."""
