"""Agreement with human raters; imports no Lightning."""
