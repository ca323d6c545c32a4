"""The Markov decision process: signals, tasks, robots, rewards and the step that joins them."""
