"""What a gathered close costs, beside every alternative: ``python -m benchmarks``."""
