"""The compared clients, and the environment each runs in."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal, cast

from benchmarks.candidates.base import Opened

Home = Literal["package", "alternatives"]
Mode = Literal["cost", "stall"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row of the table. Its library is imported only in the process that measures it."""

    name: str
    label: str
    entry: str
    """``module:function`` below this package; the function is an `Opened`."""
    needs: str
    """The top-level module that it requires."""
    home: Home = "alternatives"
    """The environment it runs in."""
    largest: int | None = None
    """Maximum number of closes to measure it with."""
    cold: bool = False
    """Whether to skip the warm-up, to include opening the connections."""
    only_stall: bool = False
    """Whether only the stall of the event loop is measured."""

    def measures(self, mode: Mode, size: int) -> bool:
        """Return whether it is measured in this mode at this size."""
        included = mode == "stall" or not self.only_stall
        return included and (self.largest is None or size <= self.largest)

    def opened(self) -> Opened:
        """Import the candidate; return its entry function."""
        module, _, function = self.entry.partition(":")
        return cast("Opened", getattr(importlib.import_module(f"{__name__}.{module}"), function))


CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        Candidate(
            "ours",
            "threecommas-async",
            "ours:opened",
            needs="threecommas_async",
            home="package",
        ),
        Candidate(
            "ours-speed",
            "threecommas-async[speed]",
            "ours:opened_speed",
            needs="httptools",
            home="package",
        ),
        Candidate(
            "ours-rsa",
            "threecommas-async, RSA-4096",
            "ours:opened_rsa",
            needs="threecommas_async",
            home="package",
            only_stall=True,
        ),
        Candidate(
            "ours-pages",
            "threecommas-async, reading pages",
            "ours:opened_pages",
            needs="threecommas_async",
            home="package",
            only_stall=True,
        ),
        Candidate(
            "aiohttp",
            "bare aiohttp, only parses JSON",
            "aiohttp_json:opened",
            needs="aiohttp",
        ),
        Candidate(
            "requests",
            "requests, 20 threads, signed",
            "requests_threads:opened",
            needs="requests",
        ),
        Candidate(
            "py3cw",
            "py3cw, 20 threads",
            "py3cw_threads:opened",
            needs="py3cw",
        ),
        Candidate(
            "httpx-here",
            "bare httpx, semaphore, our environment",
            "httpx_bare:behind_semaphore",
            needs="httpx",
            home="package",
        ),
        Candidate(
            "httpx",
            "bare httpx, semaphore, as pip installs it",
            "httpx_bare:behind_semaphore",
            needs="httpx",
        ),
        Candidate(
            "httpx-gather",
            "bare httpx, plain gather, cold",
            "httpx_bare:ungated",
            needs="httpx",
            largest=1_000,
            cold=True,
        ),
        Candidate(
            "idle",
            "nothing at all: an idle event loop",
            "idle:opened",
            needs="asyncio",
            only_stall=True,
        ),
    )
}
