"""How much is done for one of many who wait: counted, for a clock depends on the machine."""

import sys
from collections.abc import Callable


def effort(deed: Callable[[], object]) -> int:
    """Return how many calls of functions, and resumptions of generators, a deed takes."""
    calls = 0

    def note(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(note)
    try:
        deed()
    finally:
        sys.setprofile(None)
    return calls
