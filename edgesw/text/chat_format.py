"""ChatFormat: a chat template as fixed pieces of text around the messages, for runtimes without a template language.

It covers neither tools nor what follows the model's answer. edgesw.text.chat_format_derive derives it from a template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Message = Mapping[str, Any]
"""`{"role": "user", "content": "..."}`"""
Strip = Literal["none", "newlines", "space"]
DATE = "\0"
"""Delimits a strftime pattern that the template fills with the current time."""
_TURNS = ("user", "assistant")


@dataclass(frozen=True)
class Slot:
    """The text before and after a message's content, and what is stripped from the content's left and right end."""

    before: str
    after: str
    left: Strip = "none"
    right: Strip = "none"


@dataclass(frozen=True)
class Thought:
    """How reasoning is removed from earlier answers: everything up to the last `end`, then `strip` on the left."""

    end: str
    strip: Strip


@dataclass(frozen=True)
class ChatFormat:
    """The prompt of a conversation as slots for its messages."""

    opening: Slot
    """The first user message of a conversation without a system message; `before` holds a default one, if any."""
    system: Slot | None
    """The system message; None where the template refuses or drops it, or puts it where a slot cannot."""
    first: Slot | None
    """The first user message after a system message; None where `system` is."""
    user: Slot
    """Every later user message."""
    assistant: Slot
    """Every earlier answer."""
    generation: str
    """The text after the last message, which the model continues with its answer."""
    thought: Thought | None
    """None where earlier answers keep their reasoning."""

    def __post_init__(self) -> None:
        if (self.system is None) != (self.first is None):
            raise ValueError("'system' and 'first' must both be given or both be null")

    def prompt(self, messages: Sequence[Message], now: datetime) -> str:
        """The prompt of a conversation: a system message or none, then user and assistant alternating, the user last.

        `now` fills in dates. Raises ValueError for another order of roles, for a blank system or user message, and for
        a system message that the format has no slot for.
        """
        roles = [str(message["role"]) for message in messages]
        has_system = roles[:1] == ["system"]
        turns = roles[has_system:]
        if len(turns) % 2 == 0 or any(role != _TURNS[number % 2] for number, role in enumerate(turns)):
            raise ValueError("a chat is a system message or none, then user and assistant alternating, the user last.")
        if has_system and (self.system is None or self.first is None):
            raise ValueError("this model does not take a system message.")
        slots = [slot for slot in (self.system, self.first) if slot] if has_system else [self.opening]
        slots += [self.assistant if role == "assistant" else self.user for role in roles[len(slots) :]]
        text = ""
        for role, slot, message in zip(roles, slots, messages, strict=True):
            content = str(message["content"])
            if role == "assistant" and self.thought and self.thought.end in content:
                content = _stripped(content.rpartition(self.thought.end)[2], self.thought.strip, "none")
            elif role != "assistant" and not content.strip():
                raise ValueError(f"a {role} message is blank.")
            text += _dated(slot.before, now) + _stripped(content, slot.left, slot.right) + _dated(slot.after, now)
        return text + _dated(self.generation, now)


def _stripped(text: str, left: Strip, right: Strip) -> str:
    text = {"none": text, "newlines": text.lstrip("\n"), "space": text.lstrip()}[left]
    return {"none": text, "newlines": text.rstrip("\n"), "space": text.rstrip()}[right]


def _dated(piece: str, now: datetime) -> str:
    """The text with the patterns between two DATE marks filled in."""
    parts = piece.split(DATE)
    return "".join(now.strftime(part) if number % 2 else part for number, part in enumerate(parts))
