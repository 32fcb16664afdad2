"""Every example in README.md and docs/ runs, for real, against the embedded 3Commas.

* A Python block is compiled as it stands, with `await` allowed at its top level as in
  `python -m asyncio`. It finds the names that the documents promise: `client`, `ids`, `bot_id` and
  `asyncio`. A test function that it defines is run as well.
* Each line of a shell block that calls `threecommas` is run in this process and must end with 0.
  The commands that run on are only held against their options.
* 12345678 and its neighbours in the text stand for trades of the sandbox, 12345698 and 12345699 for
  those whose entry is not filled, 23456701 for a deal, 2345 for its bot.
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

from tests.docs.conftest import hurry
from threecommas_async import AsyncClient
from threecommas_async.cli.app import app, start
from threecommas_async.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
RUNS_ON = {"demo", "sandbox"}
_PLACEHOLDER = re.compile(r"\b123456(7[89]|[89]\d)\b")


def _examples(language: str) -> list[Any]:
    return [
        pytest.param(example, id=f"{path.name}-line-{example.line}")
        for path in DOCUMENTS
        for example in Document.parse(str(path), CodeBlockParser(language))
    ]


def _for_real(text: str, sandbox: Sandbox) -> str:
    """Put ids of the sandbox in the place of those made up for the text."""
    trades = (*sandbox.trade_ids, *sandbox.pending_ids)
    text = _PLACEHOLDER.sub(lambda found: str(trades[int(found[1]) - 78]), text)
    text = re.sub(r"\b23456701\b", str(sandbox.deal_ids[0]), text)
    return re.sub(r"\b2345\b", str(sandbox.bot_id), text)


@pytest.mark.parametrize("example", _examples("python"))
def test_a_python_example_runs(
    example: Example, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "\n" * example.line + _for_real(str(example.parsed), sandbox)
    if "Sandbox(" not in source:  # whose clock goes with that of the example
        hurry(monkeypatch)
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
def test_the_commands_of_a_shell_example_work(
    example: Example, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    for line in _for_real(str(example.parsed), sandbox).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["threecommas"]:
            continue
        if RUNS_ON.intersection(words[1:2]):
            app.parse_args(words[1:], exit_on_error=False, print_error=False)
        else:
            assert start(words[1:]) == 0, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_between_the_documents_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text)
    for target, anchor in links:
        page = path.parent / target if target else path
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_anchor, headings), anchor


def _anchor(heading: str) -> str:
    """Name a heading as GitHub does."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
