"""Fast connections of our own, parsed by llhttp. Needs the extra `speed`.

    AsyncClient(api_key, secret=secret, transport=FastTransport())

takes more than half off the CPU time of a close; nothing else about the client changes. It has to
be asked for by name, and is not simply used where httptools happens to be installed: what a bot's
orders travel over does not change because some other package came along.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("httptools") is None:
    msg = "FastTransport needs an extra: pip install 'threecommas-async[speed]'"
    raise ImportError(msg)

from .http.fast import FastTransport

__all__ = ["FastTransport"]
