"""What a GPU makes of the tasks: `python -m benchmarks.gpu`; see `benchmarks.gpu.__main__`."""
