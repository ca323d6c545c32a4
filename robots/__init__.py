"""With what: one folder for each robot, with its model, its parameters and their source."""
