"""From a checkpoint to a verified bundle that a vehicle's own controller can run."""
