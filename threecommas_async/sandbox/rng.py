"""Seeded random generators: every random decision of the sandbox uses one of these."""

from __future__ import annotations

from random import Random


def seeded_rng(seed: int, *names: object) -> Random:
    """Return a generator for one purpose; the same seed and names give the same sequence."""
    text = ":".join(str(part) for part in (seed, *names))
    return Random(text)  # noqa: S311  # reproducible on purpose; nothing here is a secret
