"""Cost of gathered closes, compared with the alternatives: ``python -m benchmarks``."""
