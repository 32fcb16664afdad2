"""Cost of ``import threecommas_async`` and of its dependencies, in fresh processes."""

from __future__ import annotations

from benchmarks.environment import run_python
from benchmarks.measure import Record

OURS = "import threecommas_async"
HTTPX = "import httpx"
STATEMENTS = (
    HTTPX,
    "import asyncio, httpx, attrs, cattrs",  # lower bound for a client on these libraries
    OURS,
    "from threecommas_async import ThreeCommasError",
    "from threecommas_async import AsyncClient",
)
IMPORT = """
import sys, time
start = time.process_time()
exec(sys.argv[1])
print((time.process_time() - start) * 1e3)
"""


def measure_imports(python: str, repeats: int) -> list[Record]:
    """Measure the CPU milliseconds of each statement, interleaved, after a warm-up round."""
    return [
        {"statement": statement, "repeat": repeat, "cpu_ms": float(output)}
        for repeat in range(-1, repeats)
        for statement in STATEMENTS
        for output in [run_python(python, "-c", IMPORT, statement)]
        if repeat >= 0
    ]
