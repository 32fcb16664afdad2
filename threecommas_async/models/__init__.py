"""Frozen attrs classes, one module per resource; fields have the names of the JSON keys."""
