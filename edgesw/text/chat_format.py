"""Chat form: a chat template told as pieces of text around the messages, for runtimes that have no template language.

A form says nothing of tools, nor of what follows an answer. edgesw.text.chat_format_derive reads it off a template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from edgesw.text.chat import Message

Strip = Literal["none", "newlines", "space"]
DATE = "\0"
"""Stands on both sides of a strftime pattern that a template fills from the clock."""
_TURNS = ("user", "assistant")


@dataclass(frozen=True)
class Slot:
    """A message's place: what stands before and after its content, and what its content loses at its ends."""

    before: str
    after: str
    left: Strip = "none"
    right: Strip = "none"


@dataclass(frozen=True)
class Thought:
    """Reasoning that earlier answers lose: all to the last `end`, and `strip` at the beginning of what is left."""

    end: str
    strip: Strip


@dataclass(frozen=True)
class ChatFormat:
    opening: Slot
    """The first user message of a conversation without a system message: a default one stands in `before`."""
    system: Slot | None
    """The system message; None where the template refuses one, drops it, or puts it where a form cannot say."""
    first: Slot | None
    """The first user message behind a system message; None with `system`."""
    user: Slot
    assistant: Slot
    generation: str
    """What stands behind the last message, for the model to answer."""
    thought: Thought | None

    def __post_init__(self) -> None:
        if (self.system is None) != (self.first is None):
            raise ValueError("'system' and 'first' go together: both are there, or neither")

    def prompt(self, messages: Sequence[Message], now: datetime) -> str:
        """The prompt for a system message or none, then user and assistant in turns, the user last; `now` fills dates.

        ValueError for other orders, for a system or user message that is blank, and for a system message where there
        is no place for one.
        """
        roles = [str(message["role"]) for message in messages]
        led = roles[:1] == ["system"]
        turns = roles[led:]
        if len(turns) % 2 == 0 or any(role != _TURNS[number % 2] for number, role in enumerate(turns)):
            raise ValueError("a chat is a system message or none, then user and assistant in turns, the user last.")
        if led and (self.system is None or self.first is None):
            raise ValueError("this model takes no system message.")
        slots = [slot for slot in (self.system, self.first) if slot] if led else [self.opening]
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
    """With the patterns between two DATE filled."""
    parts = piece.split(DATE)
    return "".join(now.strftime(part) if number % 2 else part for number, part in enumerate(parts))
