"""Frozen attrs classes, one file per resource, fields named as on the wire."""
