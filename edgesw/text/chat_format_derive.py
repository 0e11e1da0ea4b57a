"""Reads a chat form off a template.

The pieces are what stands around marked contents in what the template renders. They are kept only if what they compose
is what it renders for every conversation of a set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import pairwise, product, takewhile

import jinja2

from edgesw.text.chat import Message, render_chat
from edgesw.text.chat_format import DATE, ChatFormat, Slot, Strip, Thought

_DATES = datetime(2024, 2, 9, 7, 5, 3), datetime(2031, 11, 30, 23, 59)

# White space that tells by what is kept of it which of it was stripped.
_PAD = "\n \n"
_PADDED = _PAD + "{}" + _PAD
_LEFT: dict[str, Strip] = {_PAD: "none", " \n": "newlines", "": "space"}
_RIGHT: dict[str, Strip] = {_PAD: "none", "\n ": "newlines", "": "space"}
_THOUGHT_END = "</think>"
_THOUGHT = f"<think>\nwhy\n{_THOUGHT_END}"
_SAID = (
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
    # What some templates take for a switch or a mark.
    "Be brief. /no_think",
    "/think it over",
    "what is </think> for?",
    "<think> and <tool_call>",
)
_ANSWERED = ("", " ", f"{_THOUGHT}\n\n answer\n", f"{_THOUGHT}a{_THOUGHT_END} \nb")

Render = Callable[..., str]


def derive_format(template: str, tokens: Mapping[str, str]) -> ChatFormat | None:
    """The form of a Jinja template; None where its prompts are not of this form. `tokens`: bos_token and eos_token."""

    def render(messages: Sequence[Message], *, strftime_now: Callable[[str], str], prompt: bool = True) -> str:
        return render_chat(template, messages, strftime_now=strftime_now, add_generation_prompt=prompt, **tokens)

    try:
        form = _read(partial(render, strftime_now=lambda pattern: DATE + pattern + DATE))
    except (jinja2.TemplateError, ValueError):
        return None
    tried = (form, replace(form, system=None, first=None)) if form.system else (form,)
    return next((each for each in tried if _verified(each, render)), None)


def _verified(form: ChatFormat, render: Render) -> bool:
    try:
        pairs = ((form.prompt(said, now), render(said, strftime_now=now.strftime)) for said, now in _chats(form))
        return all(ours == theirs for ours, theirs in pairs)
    except (jinja2.TemplateError, ValueError):
        return False


def _read(render: Render) -> ChatFormat:
    """The pieces, not yet verified. ValueError or TemplateError where they cannot be read off."""
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
    """What follows the last answer, where the template says: it divides what stands between it and the next message."""
    try:
        return _gaps(partial(render, prompt=False), ("user", "assistant"))[2]
    except (jinja2.TemplateError, ValueError):
        return ""


def _thought(render: Render, before: str) -> Thought | None:
    """How an earlier answer loses its reasoning, told by one whose answer stands behind white space."""
    gaps = _gaps(render, ("user", "assistant", "user"), {"assistant": _THOUGHT + _PADDED})
    kept = gaps[1].removeprefix(before)
    return Thought(_THOUGHT_END, _LEFT[kept]) if gaps[1].startswith(before) and kept in _LEFT else None


def _gaps(render: Render, roles: Sequence[str], fills: Mapping[str, str] | None = None) -> list[str]:
    """What stands around the contents of a conversation, one more than these. ValueError unless each stands there once
    and in order. `fills` by role: the content around a "{}"."""
    marks = [f"qzj{number}jzq" for number in range(len(roles))]
    contents = [(fills or {}).get(role, "{}").format(mark) for role, mark in zip(roles, marks, strict=True)]
    rest = render([{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)])
    gaps = []
    for mark in marks:
        if rest.count(mark) != 1:
            raise ValueError("a content is left out, repeated or moved")
        gap, _, rest = rest.partition(mark)
        gaps.append(gap)
    return [*gaps, rest]


def _strips(gaps: Sequence[str], padded: Sequence[str]) -> list[tuple[Strip, Strip]]:
    """What each content loses at its left and right, by what white space is kept; ValueError if it is another."""
    found = []
    for number, (gap, whole) in enumerate(zip(gaps, padded, strict=True)):
        rights = _RIGHT if number else {"": "none"}
        lefts = _LEFT if number < len(gaps) - 1 else {"": "none"}
        fitting = ((right, left) for right in rights for left in lefts if right + gap + left == whole)
        found.append(next(fitting, None))
    if None in found:
        raise ValueError("a template strips its contents in other ways than we know")
    pairs = [pair for pair in found if pair]
    return [(_LEFT[left[1]], _RIGHT[right[0]]) for left, right in pairwise(pairs)]


def _chats(form: ChatFormat) -> Iterator[tuple[list[Message], datetime]]:
    """Those a form is verified on: one to four turns, every content in every place, and a longer one."""
    answers = _SAID + _ANSWERED
    for start, turns in (*product(range(len(answers)), range(1, 5)), (0, 12)):
        said: list[Message] = []
        for turn in range(turns):
            said.append({"role": "user", "content": _SAID[(start + 3 * turn) % len(_SAID)]})
            said.append({"role": "assistant", "content": answers[(start + 5 * turn) % len(answers)]})
        yield said[:-1], _DATES[start % 2]
        if form.system:
            system = {"role": "system", "content": _SAID[(start + 1) % len(_SAID)]}
            yield [system, *said[:-1]], _DATES[start % 2]


def _common(*texts: str) -> str:
    """What all of them begin with."""
    alike = takewhile(lambda characters: len(set(characters)) == 1, zip(*texts, strict=False))
    return "".join(characters[0] for characters in alike)
