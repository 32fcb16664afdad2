"""The Python environment of the alternatives, and a description of the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PACKAGES = (
    "httpx",
    "httpcore",
    "sniffio",
    "aiohttp",
    "httptools",
    "requests",
    "py3cw",
    "attrs",
    "cattrs",
)

VERSIONS = """
import importlib.metadata as metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""
IMPORTABLE = """
import importlib.util, sys
print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name)))
"""


def clean_environment() -> dict[str, str]:
    """Return the environment variables without proxies, so that all requests stay local."""
    return {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }


def run_python(python: str, *arguments: str, timeout: float = 120.0) -> str:
    """Run another Python in the root of the repository; return its standard output."""
    return subprocess.run(  # noqa: S603 - our own program
        [python, *arguments],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=True,
    ).stdout


def alternatives_python() -> str:
    """Return the Python of ``.venv-bench``, which is created or updated if needed."""
    home = ROOT / ".venv-bench"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    installed = home / REQUIREMENTS.name
    wanted = REQUIREMENTS.read_text()
    if not installed.exists() or installed.read_text() != wanted:
        print(f"Creating {home.name} for the alternatives ...", file=sys.stderr)
        run_python(sys.executable, "-m", "venv", str(home))
        (home / ".gitignore").write_text("*\n")
        subprocess.run(  # noqa: S603 - inherits the proxies, which pip may need
            [python, "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)],
            check=True,
        )
        installed.write_text(wanted)
    return str(python)


def importable(python: str, modules: set[str]) -> set[str]:
    """Return the modules that another Python can import."""
    return set(run_python(python, "-c", IMPORTABLE, *sorted(modules)).split())


def versions(python: str) -> dict[str, str]:
    """Return the versions of the relevant libraries installed for another Python."""
    found: dict[str, str] = json.loads(run_python(python, "-c", VERSIONS, *PACKAGES))
    return found


def load() -> float | str:
    """Return the load average of the last minute."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else "unknown"


def machine() -> dict[str, str | int]:
    """Describe the machine, without anything that identifies it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores or 1,
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }
