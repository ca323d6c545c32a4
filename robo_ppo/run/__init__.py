"""A run on disk: training, evaluation, checkpoints, film and report."""
