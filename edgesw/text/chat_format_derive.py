"""Derives a ChatFormat from a chat template.

Conversations with marked contents are rendered, and the text around the marks becomes the slots. The result counts only
if it gives the template's own prompt for every conversation of a set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import pairwise, product, takewhile

import jinja2

from edgesw.text.chat import render_chat
from edgesw.text.chat_format import DATE, ChatFormat, Message, Slot, Strip, Thought

_DATES = datetime(2024, 2, 9, 7, 5, 3), datetime(2031, 11, 30, 23, 59)

# Padding around a content: what is left of it shows how the template strips.
_PAD = "\n \n"
_PADDED = _PAD + "{}" + _PAD
_LEFT: dict[str, Strip] = {_PAD: "none", " \n": "newlines", "": "space"}
_RIGHT: dict[str, Strip] = {_PAD: "none", "\n ": "newlines", "": "space"}
_THOUGHT_END = "</think>"
_THOUGHT = f"<think>\nwhy\n{_THOUGHT_END}"
_CONTENTS = (
    "plain",
    " both ends ",
    "\n\nlines\n\n",
    "two\n\nlines",
    "{{ braces }} {% if %} {# no #}",
    "日本語 é \N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}",
    "\t\r\n tabs\u00a0\u2003\x1f",
    "<b>&amp; \"quotes\" 'and' \\n",
    "%d %B {0} $1",
    "0",
    # Texts that some templates treat as a switch or a delimiter.
    "Be brief. /no_think",
    "/think it over",
    "what is </think> for?",
    "<think> and <tool_call>",
)
_ANSWERS = ("", " ", f"{_THOUGHT}\n\n answer\n", f"{_THOUGHT}a{_THOUGHT_END} \nb")

Render = Callable[..., str]


def derive_format(template: str, tokens: Mapping[str, str]) -> ChatFormat | None:
    """The format of a Jinja template, or None if slots cannot express it. `tokens` are the special tokens by name."""

    def render(messages: Sequence[Message], *, strftime_now: Callable[[str], str], prompt: bool = True) -> str:
        return render_chat(template, messages, tokens, add_generation_prompt=prompt, strftime_now=strftime_now)

    try:
        chat_format = _read(partial(render, strftime_now=lambda pattern: DATE + pattern + DATE))
    except (jinja2.TemplateError, ValueError):
        return None
    candidates = (chat_format, replace(chat_format, system=None, first=None)) if chat_format.system else (chat_format,)
    return next((each for each in candidates if _verified(each, render)), None)


def _verified(chat_format: ChatFormat, render: Render) -> bool:
    try:
        pairs = (
            (chat_format.prompt(chat, now), render(chat, strftime_now=now.strftime))
            for chat, now in _chats(chat_format)
        )
        return all(ours == theirs for ours, theirs in pairs)
    except (jinja2.TemplateError, ValueError):
        return False


def _read(render: Render) -> ChatFormat:
    """The format, not yet verified. Raises ValueError or TemplateError if it cannot be derived."""
    roles = ("user", "assistant", "user", "assistant", "user")
    gaps, padded = _gaps(render, roles), _gaps(render, roles, dict.fromkeys(("user", "assistant"), _PADDED))
    ends = _strips(gaps, padded)
    alone, unanswered = _gaps(render, roles[:1])[1], _gaps(partial(render, prompt=False), roles[:1])[1]
    after = _common(gaps[1], alone, unanswered)
    ahead, generation = gaps[1][len(after) :], alone[len(after) :]
    closing = _common(gaps[2], _closing(render))
    user = Slot(gaps[2][len(closing) :], gaps[3].removesuffix(ahead), *ends[2])
    system, first = _read_system(render, user, ahead)
    opening, assistant = Slot(gaps[0], after, *ends[0]), Slot(ahead, closing, *ends[1])
    return ChatFormat(opening, system, first, user, assistant, generation, _thought(render, gaps[1]))


def _read_system(render: Render, user: Slot, ahead: str) -> tuple[Slot, Slot] | tuple[None, None]:
    roles = ("system", "user", "assistant", "user")
    try:
        gaps, padded = _gaps(render, roles), _gaps(render, roles, dict.fromkeys(roles, _PADDED))
        ends = _strips(gaps, padded)
    except (jinja2.TemplateError, ValueError):
        return None, None
    before = user.before if gaps[1].endswith(user.before) else ""
    system = Slot(gaps[0], gaps[1].removesuffix(before), *ends[0])
    return system, Slot(before, gaps[2].removesuffix(ahead), *ends[1])


def _closing(render: Render) -> str:
    """The text that ends the last answer, if the template renders one: it divides the text before the next message."""
    try:
        return _gaps(partial(render, prompt=False), ("user", "assistant"))[2]
    except (jinja2.TemplateError, ValueError):
        return ""


def _thought(render: Render, before: str) -> Thought | None:
    """How reasoning is removed from an earlier answer, derived from one with white space after its reasoning."""
    gaps = _gaps(render, ("user", "assistant", "user"), {"assistant": _THOUGHT + _PADDED})
    rest = gaps[1].removeprefix(before)
    return Thought(_THOUGHT_END, _LEFT[rest]) if gaps[1].startswith(before) and rest in _LEFT else None


def _gaps(render: Render, roles: Sequence[str], fills: Mapping[str, str] | None = None) -> list[str]:
    """The texts before, between and after the contents of a conversation with these roles.

    `fills` gives the text around a content by role, as a format with "{}". Raises ValueError unless every content is
    rendered exactly once, in order.
    """
    marks = [f"qzj{number}jzq" for number in range(len(roles))]
    contents = [(fills or {}).get(role, "{}").format(mark) for role, mark in zip(roles, marks, strict=True)]
    rest = render([{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)])
    gaps = []
    for mark in marks:
        if rest.count(mark) != 1:
            raise ValueError("a content is dropped, repeated or moved")
        gap, _, rest = rest.partition(mark)
        gaps.append(gap)
    return [*gaps, rest]


def _strips(gaps: Sequence[str], padded: Sequence[str]) -> list[tuple[Strip, Strip]]:
    """How each content is stripped, by the padding that is left. Raises ValueError for any other way of stripping."""
    found = []
    for number, (gap, whole) in enumerate(zip(gaps, padded, strict=True)):
        rights = _RIGHT if number else {"": "none"}
        lefts = _LEFT if number < len(gaps) - 1 else {"": "none"}
        fitting = ((right, left) for right in rights for left in lefts if right + gap + left == whole)
        found.append(next(fitting, None))
    if None in found:
        raise ValueError("the template strips its contents in an unknown way")
    pairs = [pair for pair in found if pair]
    return [(_LEFT[left[1]], _RIGHT[right[0]]) for left, right in pairwise(pairs)]


def _chats(chat_format: ChatFormat) -> Iterator[tuple[list[Message], datetime]]:
    """The conversations to verify a format on: one to four turns with every content in every place, and a long one."""
    answers = _CONTENTS + _ANSWERS
    for start, turns in (*product(range(len(answers)), range(1, 5)), (0, 12)):
        chat: list[Message] = []
        for turn in range(turns):
            chat.append({"role": "user", "content": _CONTENTS[(start + 3 * turn) % len(_CONTENTS)]})
            chat.append({"role": "assistant", "content": answers[(start + 5 * turn) % len(answers)]})
        yield chat[:-1], _DATES[start % 2]
        if chat_format.system:
            system = {"role": "system", "content": _CONTENTS[(start + 1) % len(_CONTENTS)]}
            yield [system, *chat[:-1]], _DATES[start % 2]


def _common(*texts: str) -> str:
    """The longest common prefix."""
    alike = takewhile(lambda characters: len(set(characters)) == 1, zip(*texts, strict=False))
    return "".join(characters[0] for characters in alike)
