"""How a training would scale beyond this machine, on paper: `python -m benchmarks.scaling`."""
