"""Tasks for multirotors."""
