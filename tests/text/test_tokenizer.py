"""Text becomes token ids and comes back, in whole characters when streamed; bad files give one line."""

from __future__ import annotations

import gc
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from edgesw.errors import CheckpointError, PackageError, UsageError
from edgesw.system.bounded_process import Failed
from edgesw.text.chat_sandbox import TEXT_PROCESS
from edgesw.text.tokenizer import Tokenizer

TEXT = "Zoé said: “naïve” 日本語 👩‍👧 🎉!\n"


def byte_level() -> bytes:
    """A token for every byte, and special tokens: the hardest case for streaming."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Backend(models.BPE(vocab={token: number for number, token in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<s>", "</s>", "<end>"])
    return made.to_str().encode()


def sentencepiece() -> bytes:
    """Like Llama 2: spaces as ▁, other characters as bytes, BOS added by tokenizer.json, no token marked special."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcdeinorst"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = Backend(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made.to_str().encode()


CONFIG: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>"}


def built(kind: Any = byte_level, config: dict[str, Any] | None = None, **files: bytes) -> Tokenizer:
    config = CONFIG if config is None else config
    named = {"tokenizer.json": kind(), "tokenizer_config.json": json.dumps(config).encode()}
    return Tokenizer.from_files({**named, **{name.replace("__", "."): content for name, content in files.items()}})


@pytest.mark.parametrize(("kind", "prefix"), [(byte_level, ()), (sentencepiece, (1,))])
def test_a_text_begins_as_the_tokenizer_says(kind: Any, prefix: tuple[int, ...]) -> None:
    """Whether BOS is named says nothing of whether a text begins with it: for Qwen2.5 it does not."""
    made = built(kind)
    assert (made.prefix_ids, made.suffix_ids) == (prefix, ())
    ids = made.encode(TEXT)
    assert (
        ids
        == [*prefix, *made.encode(TEXT, add_special_tokens=False)]
        == Backend.from_str(kind().decode()).encode(TEXT).ids
    )
    assert made.decode(ids[len(prefix) :]) == TEXT


def test_what_comes_before_and_after_a_text_is_the_post_processors() -> None:
    backend = Backend.from_str(byte_level().decode())
    backend.post_processor = processors.TemplateProcessing(
        single="<s> <end> $A </s>", special_tokens=[("<s>", 256), ("<end>", 258), ("</s>", 257)]
    )
    made = built(lambda: backend.to_str().encode())
    assert (made.prefix_ids, made.suffix_ids) == ((256, 258), (257,))
    assert made.encode("") == [256, 258, 257]
    assert made.encode("", add_special_tokens=False) == []


def test_a_post_processor_that_repeats_the_text_is_refused() -> None:
    """No runtime but the tokenizers library could do that."""
    backend = Backend.from_str(byte_level().decode())
    backend.post_processor = processors.TemplateProcessing(single="$A <s> $A", special_tokens=[("<s>", 256)])
    with pytest.raises(CheckpointError, match="its post-processor (does more|changes)"):
        built(lambda: backend.to_str().encode())


def test_special_tokens_are_recognised_and_are_not_text() -> None:
    made = built()
    ids = made.encode("a</s>")
    assert ids[-1] == made.eos_ids[0], "the model would be fed the letters of its end token"
    assert made.decode(ids) == "a"
    assert made.decode(ids, special=True) == "a</s>"


def test_special_tokens_are_letters_where_the_model_wants_that() -> None:
    """transformers splits them in a text if tokenizer_config.json says so."""
    made = built(config={**CONFIG, "split_special_tokens": True})
    assert made.decode(made.encode("a</s>")) == "a</s>"
    assert 257 not in made.encode("a</s>")


def test_end_tokens_come_from_both_files() -> None:
    """A chat model ends turns and texts with different tokens; without both, generation does not stop."""
    made = built(generation_config__json=json.dumps({"eos_token_id": [257, 258]}).encode())
    assert made.eos_ids == (257, 258)
    assert made.vocab_size == 259
    assert built(generation_config__json=b'{"eos_token_id": 258}').eos_ids == (257, 258)


def test_tokens_spelled_as_tables_and_in_the_old_map() -> None:
    made = built(config={"bos_token": {"content": "<s>"}}, special_tokens_map__json=b'{"eos_token": "</s>"}')
    assert made.bos_id == 256
    assert made.eos_ids == (257,)


@pytest.mark.parametrize("kind", [byte_level, sentencepiece])
@pytest.mark.parametrize("special", [False, True])
def test_a_stream_adds_up_and_never_splits_a_character(kind: Any, special: bool) -> None:
    made = built(kind)
    ids = [*made.encode("<s>" + TEXT), *made.encode("</s>"), *made.encode("🎉 é")]
    stream = made.stream(special=special)
    parts = [stream.push(number) for number in ids]
    assert not any("\ufffd" in part for part in parts), f"half a character was shown: {parts}"
    assert "".join(parts) + stream.end() == made.decode(ids, special=special)
    assert any("🎉" in part for part in parts)


def test_a_stream_survives_special_tokens_inside_a_character() -> None:
    made = built()
    emoji = made.encode("🎉", add_special_tokens=False)
    stream = made.stream()
    parts = [stream.push(number) for number in (256, 257, *emoji[:2], 258, *emoji[2:])]
    assert "".join(parts) + stream.end() == "🎉"
    assert parts[-1] == "🎉"


def test_a_stream_is_not_held_up_by_bytes_that_never_become_a_character() -> None:
    made = built()
    lone = made.encode("é", add_special_tokens=False)[1]
    stream = made.stream()
    text = "".join(stream.push(number) for number in [*made.encode("ab", add_special_tokens=False), *[lone] * 9])
    assert text.startswith("ab\ufffd"), "a model that talks nonsense would seem to hang"
    text += stream.push(made.encode("c", add_special_tokens=False)[0]) + stream.end()
    assert text.endswith("c")


def test_an_unfinished_character_at_the_end_is_returned() -> None:
    made = built()
    stream = made.stream()
    assert stream.push(made.encode("é", add_special_tokens=False)[0]) == ""
    assert stream.end() == "\ufffd"
    assert stream.end() == ""


def test_a_tokenizer_outlives_one_that_crashes() -> None:
    """Both are in one process: the sound one is read again, and nobody notices."""
    sound = built()
    backend = json.loads(byte_level())
    blow_up = {"type": "Replace", "pattern": {"Regex": "."}, "content": "a" * 1000}
    backend["decoder"] = {"type": "Sequence", "decoders": [blow_up] * 4}
    stream = sound.stream()
    parts = [stream.push(number) for number in sound.encode("né")]
    hostile = built(lambda: json.dumps(backend).encode())
    with pytest.raises(
        CheckpointError, match=r"tokenizer\.json is damaged \(decoding tokens crashes or takes more than"
    ):
        hostile.decode([65, 66])
    assert hostile.encode("ab") == sound.encode("ab"), "it cannot decode, but is what it was"
    parts += [stream.push(number) for number in sound.encode("!")]
    assert "".join(parts) + stream.end() == "né!"


def test_tokenizers_that_nobody_has_any_more_are_forgotten() -> None:
    """A service that opens packages all day would fill the memory of the process that holds their tokenizers."""
    kept, dropped = built(), built()

    def asked(number: int) -> Any:
        given = {"number": number, "token": 65, "forgotten": []}
        return TEXT_PROCESS.ask("token", given, seconds=60, memory=1 << 30, most=1 << 20)[0]

    number = dropped._number
    assert asked(number) == dropped.token(65)
    del dropped
    gc.collect()
    kept.token(65)
    with pytest.raises(Failed):
        asked(number)


def test_tokenizers_of_several_threads_do_not_mix_up() -> None:
    """Each gets the answer to its own question."""
    made = [built(), built(sentencepiece)]
    with ThreadPoolExecutor(8) as pool:
        texts = [f"{number} a b {number}" for number in range(200)]
        found = list(pool.map(lambda text: made[len(text) % 2].encode(text), texts))
    assert found == [made[len(text) % 2].encode(text) for text in texts]


def test_a_text_that_is_not_unicode_is_no_fault_of_the_tokenizers() -> None:
    """A prompt in another encoding arrives from the shell with halves of characters."""
    with pytest.raises(UsageError, match="the text is not Unicode"):
        built().encode("na\udcefve")


TEMPLATE = """{{ bos_token }}
{%- for message in messages %}
    {% if message.role == 'tool' %}
        {{- raise_exception('no tools here') }}
    {% endif %}
[{{ message['role'] }}] {{ message['content'] | trim }}{{ eos_token }}
{% endfor %}
{% if add_generation_prompt %}
{% generation %}[assistant]{% endgeneration %}
{% endif %}
{{ {'a': '<ü>'} | tojson }} {{ strftime_now('%Y') | length }}{% for i in [1, 2] %}{% break %}{% endfor %}"""

MESSAGES = [{"role": "user", "content": " hi <b> "}, {"role": "assistant", "content": "yes"}]


@pytest.mark.parametrize("generate", [True, False])
def test_chats_are_rendered_as_transformers_renders_them(tmp_path: Path, generate: bool) -> None:
    """One space or line more than in training, and a small model loses the thread."""
    from transformers import PreTrainedTokenizerFast

    (tmp_path / "tokenizer.json").write_bytes(byte_level())
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), **CONFIG, chat_template=TEMPLATE)
    theirs.save_pretrained(tmp_path)
    ours = Tokenizer.from_folder(tmp_path)
    expected = theirs.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=generate)
    assert ours.chat_prompt(MESSAGES, add_generation_prompt=generate) == expected
    assert (ours.bos_id, ours.eos_ids) == (theirs.bos_token_id, (theirs.eos_token_id,))


@pytest.mark.parametrize(
    "template", ["{{ bos_token }}!", [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "<s>!"}]]
)
def test_templates_in_the_config(template: Any) -> None:
    assert built(config={**CONFIG, "chat_template": template}).chat_prompt(MESSAGES) == "<s>!"


def test_the_file_takes_precedence_over_the_config() -> None:
    made = built(config={**CONFIG, "chat_template": "old"}, chat_template__jinja=b"new")
    assert made.chat_prompt(MESSAGES) == "new"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (TEMPLATE, "no tools here"),
        ("{{ messages[7].role }}", "no element 7"),
        ("{{ messages + 1 }}", "TypeError"),
        ("{% for %}", "Expected"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{% set ns = namespace(_a=1) %}", "cannot hold '_a'"),
        ("{% set ns = namespace() %}{% set ns._a = 1 %}", "cannot hold '_a'"),
    ],
)
def test_a_template_that_refuses_or_misbehaves_is_one_line(template: str, said: str) -> None:
    """A template is downloaded code: it may fail, and must not reach the machine."""
    made = built(chat_template__jinja=template.encode())
    with pytest.raises(UsageError, match=f"chat template refuses these messages: .*{said}"):
        made.chat_prompt([{"role": "tool", "content": "x"}])


def test_a_special_token_cannot_take_the_messages_place() -> None:
    """transformers ends in a traceback there."""
    config = {**CONFIG, "chat_template": "{{ messages }}", "model_specific_special_tokens": {"messages": "<s>"}}
    with pytest.raises(UsageError, match="a special token is named 'messages'"):
        built(config=config).chat_prompt(MESSAGES)


def test_a_model_without_template_says_so() -> None:
    with pytest.raises(UsageError, match="no chat template"):
        built().chat_prompt(MESSAGES)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tokenizer.json", None, "tokenizer.json is missing"),
        ("tokenizer.json", b"{", "tokenizer.json is damaged"),
        ("tokenizer.json", b"\xff\xfe", "tokenizer.json is damaged"),
        ("tokenizer.json", b'{"model": {"type": "Other"}}', "tokenizer.json is damaged"),
        ("tokenizer_config.json", b"{", "tokenizer_config.json is damaged"),
        ("tokenizer_config.json", b"[]", "tokenizer_config.json is damaged"),
        ("generation_config.json", b"\xff", "generation_config.json is damaged"),
        ("chat_template.jinja", b"\xff", "chat_template.jinja is damaged"),
    ],
)
@pytest.mark.parametrize("kind", [CheckpointError, PackageError])
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes | None, said: str, kind: Any) -> None:
    (tmp_path / "tokenizer.json").write_bytes(byte_level())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=f"{tmp_path}: {said}") as error:
        Tokenizer.from_folder(tmp_path, kind)
    assert "\n" not in str(error.value)
