"""What to do: one folder for each kind of vehicle."""
