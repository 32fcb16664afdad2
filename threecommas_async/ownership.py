"""Stub until merge."""
from __future__ import annotations

import asyncio


class Owner:
    def __init__(self, what: str) -> None:
        self.loop: object = None
    def enter(self) -> bool:
        loop = asyncio.get_running_loop()
        new = loop is not self.loop
        self.loop = loop
        return new
