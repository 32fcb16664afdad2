"""The one source of chance: every draw comes from the seed and the name of what is drawn."""

from __future__ import annotations

from random import Random


def seeded(seed: int, *names: object) -> Random:
    """Make the dice for one purpose; the same seed and names give the same throws."""
    text = ":".join(str(part) for part in (seed, *names))
    return Random(text)  # noqa: S311  # reproducible on purpose; nothing here is a secret
