"""What ``import threecommas_async`` costs beside ``import httpx``, each in fresh processes."""

from __future__ import annotations

from benchmarks.environment import run_python
from benchmarks.measure import Record

OURS = "import threecommas_async"
HTTPX = "import httpx"
STATEMENTS = (
    HTTPX,
    "import asyncio, httpx, attrs, cattrs",  # the least a client on these libraries can cost
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
    """CPU milliseconds of an import, the statements in turn; a first one fills the caches."""
    return [
        {"statement": statement, "repeat": repeat, "cpu_ms": float(output)}
        for repeat in range(-1, repeats)
        for statement in STATEMENTS
        for output in [run_python(python, "-c", IMPORT, statement)]
        if repeat >= 0
    ]
