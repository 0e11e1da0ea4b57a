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

from edgesw.text.chat_format import Message


class _Generation(Extension):
    """Accepts `{% generation %}`, which marks the model's answers for training; a prompt just has its content.

    The content is a call block as in transformers, so that what is assigned in it stays in it.
    """

    tags = {"generation"}  # noqa: RUF012 (as Jinja declares it)

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_content"), [], [], body).set_lineno(line)

    def _content(self, caller: Callable[[], str]) -> str:
        return caller()


class _Dict:
    """`dict` in templates, of which only calls are allowed."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(jinja2.utils.Namespace):
    """`namespace` in templates, which refuses names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # so that a template may name a value `self`
        own, *rest = args
        values = dict(*rest, **kwargs)
        for name in values:
            _check_name(name)
        jinja2.utils.Namespace.__init__(own, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def render_chat(
    template: str,
    messages: Sequence[Message],
    tokens: Mapping[str, str],
    *,
    add_generation_prompt: bool,
    strftime_now: Callable[[str], str] = _now,
) -> str:
    """The prompt for `messages`, as transformers' `apply_chat_template` renders it; `tokens` are the special tokens by
    name. Raises jinja2.TemplateError for a broken template or messages that it refuses."""
    if not messages:
        raise jinja2.TemplateError("there is no message")
    chat = [_message(message) for message in messages]
    bound = {"messages": chat, "tools": None, "documents": None, "add_generation_prompt": add_generation_prompt}
    if taken := bound.keys() & tokens.keys():
        raise jinja2.TemplateError(f"a special token is named '{min(taken)}'")
    try:
        return _compiled(template).render({"strftime_now": strftime_now, **tokens, **bound})
    except jinja2.TemplateError:
        raise
    except MemoryError as error:
        raise jinja2.TemplateError("it takes too much memory") from error
    except Exception as error:  # what a template raises on unexpected values: TypeError, KeyError, ...
        raise jinja2.TemplateError(f"{type(error).__name__}: {error}") from error


def _message(message: Message) -> dict[str, Any]:
    """A copy without the keys that are None, and with an answer's reasoning under each of the names templates know."""
    stated = {key: value for key, value in message.items() if value is not None}
    reasoning = next((stated[key] for key in ("reasoning_content", "thinking", "reasoning") if key in stated), None)
    if reasoning is None:
        return stated
    return {"thinking": reasoning, **stated, "reasoning_content": reasoning}


@lru_cache(maxsize=4)  # compiling takes longer than rendering, and deriving a ChatFormat renders a hundred times
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _raise, "dict": _Dict(), "namespace": _Namespace}
    return environment.from_string(template)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Replaces Jinja's own filter, which escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot hold {name!r}")
