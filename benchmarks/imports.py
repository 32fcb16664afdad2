"""What ``import threecommas_async`` costs beside ``import httpx``, each in fresh processes."""

from __future__ import annotations

from benchmarks.environment import run_python
from benchmarks.measure import Record

MODULES = ("httpx", "asyncio, httpx, attrs, cattrs", "threecommas_async")
"""The one in the middle is the least an asyncio client on these libraries can cost."""
IMPORT = """
import sys, time
start = time.process_time()
exec("import " + sys.argv[1])
print((time.process_time() - start) * 1e3)
"""


def measure_imports(python: str, repeats: int) -> list[Record]:
    """CPU milliseconds of an import, the modules in turn; a first import fills the caches."""
    return [
        {"module": module, "repeat": repeat, "cpu_ms": float(output)}
        for repeat in range(-1, repeats)
        for module in MODULES
        for output in [run_python(python, "-c", IMPORT, module)]
        if repeat >= 0
    ]
