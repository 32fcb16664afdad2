"""Run every example of README.md and docs/ against the sandbox.

* A Python block is compiled with top-level `await`, as in `python -m asyncio`. `client`, `ids`,
  `bot_id` and `asyncio` are defined, as the documents say. Test functions in a block are run too.
* Each `threecommas` command of a shell block is run in this process and must exit with 0. Of
  commands that do not end soon only the arguments are parsed.
* Ids in the text are replaced by those of the sandbox: 12345678 to 12345697 by open trades,
  12345698 and 12345699 by trades whose entry is not filled, 23456701 by a deal, 2345 by its bot.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from sybil import Example
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser

from tests.docs.conftest import speed_up_event_loops
from threecommas_async import AsyncClient
from threecommas_async.cli.app import app, run_blocking
from threecommas_async.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
LONG_RUNNING = {"demo", "sandbox"}
_PLACEHOLDER = re.compile(r"\b123456(7[89]|[89]\d)\b")


def _examples(language: str) -> list[Any]:
    return [
        pytest.param(example, id=f"{path.name}-line-{example.line}")
        for path in DOCUMENTS
        for example in Document.parse(str(path), CodeBlockParser(language))
    ]


def _with_sandbox_ids(text: str, sandbox: Sandbox) -> str:
    """Replace the ids in the text by ids of the sandbox."""
    trades = (*sandbox.trade_ids, *sandbox.pending_ids)
    text = _PLACEHOLDER.sub(lambda match: str(trades[int(match[1]) - 78]), text)
    text = re.sub(r"\b23456701\b", str(sandbox.deal_ids[0]), text)
    return re.sub(r"\b2345\b", str(sandbox.bot_id), text)


@pytest.mark.parametrize("example", _examples("python"))
def test_python_example_runs(
    example: Example, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "\n" * example.line + _with_sandbox_ids(str(example.parsed), sandbox)
    if "Sandbox(" not in source:  # an example with its own sandbox sets its own speed
        speed_up_event_loops(monkeypatch)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(source, example.path, "exec", flags=flags, dont_inherit=True)
    names: dict[str, Any] = {
        "__name__": "__main__",
        "asyncio": asyncio,
        "ids": list(sandbox.trade_ids),
        "bot_id": sandbox.bot_id,
    }

    async def with_client() -> None:
        async with AsyncClient.from_env() as client:
            names["client"] = client
            await eval(code, names)  # noqa: S307 - our own documents

    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(with_client())
    else:
        exec(code, names)  # noqa: S102 - our own documents
    for name in [name for name in names if name.startswith("test_")]:
        asyncio.run(names[name]())


@pytest.mark.parametrize("example", _examples("sh"))
def test_commands_of_shell_example_exit_with_0(
    example: Example, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed_up_event_loops(monkeypatch)
    for line in _with_sandbox_ids(str(example.parsed), sandbox).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["threecommas"]:
            continue
        if LONG_RUNNING.intersection(words[1:2]):
            app.parse_args(words[1:], exit_on_error=False, print_error=False)
        else:
            assert run_blocking(words[1:]) == 0, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_has_a_target(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text)
    for target, anchor in links:
        page = path.parent / target if target else path
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_anchor, headings), anchor


def _anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
