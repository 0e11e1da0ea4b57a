"""Renders chat templates, and derives ChatFormats, in a process with limits on time and memory: a template is
downloaded code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgesw.errors import UsageError
from edgesw.files.type_check import structure
from edgesw.system.bounded_process import BoundedProcess, Failed, Overrun, text_length
from edgesw.text.chat_format import ChatFormat, Message

TEXT_PROCESS = BoundedProcess("edgesw.text.tokenizer_process")
"""The process for tokenizers and templates, of which one serves them all."""
SECONDS = 15.0
"""The time limit for a ChatFormat; templates of published models take less than a second."""
PROMPT_SECONDS, SECONDS_A_MB = 10.0, 20.0
"""The time limit for a prompt, and what a megabyte of messages adds to it."""
MEMORY, MEMORY_A_BYTE = 1 << 30, 100
"""The memory that a template may take, and what each byte of messages adds."""
MOST = 4 << 20
"""The longest prompt in bytes, less what the messages add: a million tokens."""


def render_chat_sandboxed(
    template: str, messages: Sequence[Message], names: Mapping[str, str], where: str, *, add_generation_prompt: bool
) -> str:
    """The prompt for `messages`; `names` are the special tokens by name. Raises UsageError where the template refuses
    the messages, takes longer or more memory than it may, or makes a text that is none."""
    given = {
        "template": template, "messages": list(map(dict, messages)), "names": dict(names),
        "add_generation_prompt": add_generation_prompt,
    }  # fmt: skip
    size = text_length(messages)
    try:
        text, _ = TEXT_PROCESS.ask(
            "chat_prompt", given, seconds=PROMPT_SECONDS + SECONDS_A_MB * size / 1e6,
            memory=MEMORY + MEMORY_A_BYTE * size, most=MOST + MEMORY_A_BYTE * size,
        )  # fmt: skip
        text.encode("utf-8")
    except TypeError as error:  # an object of Python's, from a caller of the API
        raise UsageError(
            f"a message is not of JSON's types ({error}): give texts, numbers, lists and dicts."
        ) from error
    except (Overrun, Failed, UnicodeEncodeError) as error:
        why = "gives text that is not Unicode" if isinstance(error, UnicodeEncodeError) else error
        raise UsageError(f"{where}: the chat template {why}. Give a plain prompt.") from error
    return str(text)


def derive_format_sandboxed(template: str, tokens: Mapping[str, str], seconds: float = SECONDS) -> ChatFormat | None:
    """Like `derive_format`, but also None if that takes longer than `seconds` or more than MEMORY."""
    try:
        given = {"template": template, "names": dict(tokens)}
        chat_format, _ = TEXT_PROCESS.ask("chat_format", given, seconds=seconds, memory=MEMORY, most=MOST)
    except (Overrun, Failed):
        return None
    return None if chat_format is None else structure(ChatFormat, chat_format)
