"""chats.json: the chat formats that edgesw derives from chat templates, and the prompts that transformers renders."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest import mock

from chat_templates import TEMPLATES
from tokenizers import Tokenizer as Backend
from tokenizers import models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from edgesw.text.chat_format_derive import derive_format

CONFIG = {"bos_token": "<s>", "eos_token": "</s>"}
NOW = datetime(2025, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
USER = [
    "Hi!",
    "  a\n\n{{ b }} ",
    "\u2028Ünï 日本語\u00a0",
    "\r\nWhat is 'x' & <y>?\r\n",
    "\u200b%d \U0001f469\u200d\U0001f467\x1c",
    "e\u0301\u0301",
]
ANSWERS = ["Hello.", "", "\n\n<think>\nhm\n</think>\n\nYes \n", " x</think>\u0301y\x85", "\u180e ok\ufeff"]


class _FixedClock:
    @staticmethod
    def now() -> datetime:
        return NOW


def make(folder: Path) -> None:
    """Writes chats.json to `folder`."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Backend(models.BPE()), **CONFIG)  # renders, encodes nothing
    with mock.patch.object(chat_template_utils, "datetime", _FixedClock):
        templates = {**TEMPLATES, "dated": DATED, **_smollm2()}
        cases = [_case(tokenizer, name, template) for name, template in templates.items()]
    content = {"now": NOW.timestamp(), "templates": cases}
    (folder / "chats.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")


DATED = (
    "{{ strftime_now('%A %a %B %b %d %m %Y %y %H:%M:%S %I %p %j %%') }}"
    "{% for m in messages %}|{{ m.role }} {{ m.content }}{% endfor %}|"
)


def _smollm2() -> dict[str, str]:
    """Returns the demo model's own template, if its package is installed."""
    from edgesw.checkpoint.checkpoint import open_checkpoint
    from edgesw.errors import EdgeswError

    try:
        return {"smollm2": open_checkpoint("smollm2-135m").tokenizer_files()["chat_template.jinja"].decode()}
    except EdgeswError:
        return {}


def _case(tokenizer: Any, name: str, template: str) -> dict[str, Any]:
    bos = "<|im_start|>" if name == "smollm2" else CONFIG["bos_token"]
    chat_format = derive_format(template, {"bos_token": bos, "eos_token": CONFIG["eos_token"]})
    assert chat_format is not None, f"the template {name} has no chat format"
    chats = [
        {
            "messages": messages,
            "prompt": tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=False, add_generation_prompt=True
            ),
        }
        for system in ((None, " Be kind.\n") if chat_format.system else (None,))
        for messages in _conversations(system)
    ]
    return {"name": name, "chat": dataclasses.asdict(chat_format), "chats": chats}


def _conversations(system: str | None) -> list[list[dict[str, str]]]:
    conversations = []
    for start in range(len(USER)):
        messages = [{"role": "system", "content": system}] if system else []
        for turn in range(start % 4 + 1):
            messages.append({"role": "user", "content": USER[(start + turn) % len(USER)]})
            messages.append({"role": "assistant", "content": ANSWERS[(start + turn) % len(ANSWERS)]})
        conversations.append(messages[:-1])
    return conversations
