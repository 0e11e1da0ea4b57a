"""Renders chat templates in a Jinja sandbox, as a template is downloaded code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

Message = Mapping[str, Any]
"""`{"role": "user", "content": "..."}`"""


class _Generation(Extension):
    """Accepts `{% generation %}`, which marks the model's answers for training; a prompt just has its content."""

    tags = {"generation"}  # noqa: RUF012 (as Jinja declares it)

    def parse(self, parser: Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def render_chat(
    template: str, messages: Sequence[Message], *, strftime_now: Callable[[str], str] = _now, **variables: Any
) -> str:
    """The prompt for `messages`. Raises jinja2.TemplateError for a broken template or messages that it refuses."""
    copies = [dict(message) for message in messages]
    try:
        return _compiled(template).render(messages=copies, strftime_now=strftime_now, **variables)
    except jinja2.TemplateError:
        raise
    except Exception as error:  # what a template raises on unexpected values: TypeError, KeyError, ...
        raise jinja2.TemplateError(f"{type(error).__name__}: {error}") from error


@lru_cache(maxsize=4)  # compiling takes longer than rendering, and deriving a ChatFormat renders a hundred times
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    return environment.from_string(template)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """Replaces Jinja's own filter, which escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
