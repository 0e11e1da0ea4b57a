"""Tokenizers and chat templates as what they are made of: components with arguments that no library writes, and
programs of a stranger. Bytes alone, which `readers` damages, seldom get past the library's parser."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile
from hypothesis import strategies as st
from readers import SOUND, Reader

from edgesw.errors import UsageError
from edgesw.text import chat_sandbox, tokenizer
from edgesw.text.tokenizer import Tokenizer

SECONDS = 0.5
"""The time limit of a call here: sound ones take a millisecond, and whoever fuzzes has no time to wait for others."""
TEXT = "The <s> county's\n  brass naïve 日本 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa! 123</s>"


@contextlib.contextmanager
def _hurried() -> Iterator[None]:
    before = tokenizer.SECONDS, chat_sandbox.PROMPT_SECONDS, chat_sandbox.SECONDS
    tokenizer.SECONDS = chat_sandbox.PROMPT_SECONDS = chat_sandbox.SECONDS = SECONDS
    try:
        yield
    finally:
        tokenizer.SECONDS, chat_sandbox.PROMPT_SECONDS, chat_sandbox.SECONDS = before


# --- tokenizer.json by its components ---------------------------------------------------------------------------------

_REGEXES = (
    " ?\\w+", "(a+)+$", "(.*)*x", "(?:a|aa)+$", "(?=.*)", "", "(", "\\p{L}{1,99999}", "(?<n>a)\\k<n>", ".*?.*?.*?.*?=",
    "\\G", "(?i:a)|\\s+(?!\\S)", "[^\\x00-\\x7f]", "(((a*)*)*)*b", "a{2147483647}",
)  # fmt: skip
_TOKENS = ("<s>", "</s>", "<unk>", "a", "b", "ab", " ", "Ġ", "▁", "<0x41>", "##a", "é", "\u0301")
_short = st.sampled_from(_TOKENS)
_string = st.one_of(
    _short, _short, _short, st.sampled_from(hostile.NAMES), st.integers(0, 20).map(lambda n: "a" * 2**n)
)
_small = st.integers(0, 8)
_number = st.one_of(_small, _small, st.sampled_from(hostile.NUMBERS + hostile.NUMERALS))
_switch = st.booleans()
_pattern = st.one_of(
    st.builds(lambda text: {"String": text}, _string), st.sampled_from(_REGEXES).map(lambda text: {"Regex": text})
)
_charsmap = st.one_of(
    st.sampled_from(["", "AAAA", "BAAAAAAAAAA=", None]), st.lists(st.integers(0, 255), max_size=8), hostile.values
)
_around = st.tuples(_string, _number).map(list)
_piece = st.one_of(
    st.builds(lambda token, kind: {"SpecialToken": {"id": token, "type_id": kind}}, _string, _number),
    st.builds(lambda name, kind: {"Sequence": {"id": name, "type_id": kind}}, st.sampled_from("AB"), _number),
)
_specials = st.dictionaries(
    _string, st.fixed_dictionaries({"id": _string, "ids": st.lists(_number, max_size=3), "tokens": st.lists(_string)})
)
_pieces = st.lists(_piece, max_size=4)
_words = st.dictionaries(_string, _number, max_size=12)
_pairs = st.lists(st.tuples(_short, _short).map(list), max_size=6)
_scores = st.lists(st.tuples(_string, _number).map(list), max_size=12)

_KINDS: dict[str, dict[str, dict[str, Any]]] = {
    "normalizer": {
        "BertNormalizer": dict.fromkeys(
            ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), _switch
        ),
        "Strip": {"strip_left": _switch, "strip_right": _switch},
        "Precompiled": {"precompiled_charsmap": _charsmap},
        "Replace": {"pattern": _pattern, "content": _string},
        "Prepend": {"prepend": _string},
        **{name: {} for name in ("StripAccents", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Nmt", "ByteLevel")},
    },
    "pre_tokenizer": {
        "ByteLevel": {"add_prefix_space": _switch, "trim_offsets": _switch, "use_regex": _switch},
        "CharDelimiterSplit": {"delimiter": _string},
        "Metaspace": {
            "replacement": _string, "split": _switch,
            "prepend_scheme": st.sampled_from(["always", "never", "first", "x"]),
        },
        "Split": {
            "pattern": _pattern, "invert": _switch,
            "behavior": st.sampled_from(
                ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous", "x"]
            ),
        },
        "Punctuation": {"behavior": st.sampled_from(["Isolated", "Removed", "Contiguous"])},
        "Digits": {"individual_digits": _switch},
        "FixedLength": {"length": _number},
        **{name: {} for name in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts")},
    },
    "model": {
        "BPE": {
            "vocab": _words, "merges": _pairs, "unk_token": _string, "dropout": st.none() | _number,
            "continuing_subword_prefix": st.none() | _string, "end_of_word_suffix": st.none() | _string,
            "fuse_unk": _switch, "byte_fallback": _switch, "ignore_merges": _switch,
        },
        "Unigram": {"vocab": _scores, "unk_id": st.none() | _number, "byte_fallback": _switch},
        "WordPiece": {
            "vocab": _words, "unk_token": _string, "continuing_subword_prefix": _string,
            "max_input_chars_per_word": _number,
        },
        "WordLevel": {"vocab": _words, "unk_token": _string},
    },
    "post_processor": {
        "BertProcessing": {"sep": _around, "cls": _around},
        "RobertaProcessing": {"sep": _around, "cls": _around, "trim_offsets": _switch, "add_prefix_space": _switch},
        "ByteLevel": {"add_prefix_space": _switch, "trim_offsets": _switch, "use_regex": _switch},
        "TemplateProcessing": {"single": _pieces, "pair": _pieces, "special_tokens": _specials},
    },
    "decoder": {
        "BPEDecoder": {"suffix": _string},
        "WordPiece": {"prefix": _string, "cleanup": _switch},
        "Metaspace": {"replacement": _string, "prepend_scheme": st.sampled_from(["always", "never"]), "split": _switch},
        "CTC": {"pad_token": _string, "word_delimiter_token": _string, "cleanup": _switch},
        "Replace": {"pattern": _pattern, "content": _string},
        "Strip": {"content": _string, "start": _number, "stop": _number},
        **{name: {} for name in ("ByteLevel", "Fuse", "ByteFallback")},
    },
}  # fmt: skip
_LISTS = {
    "normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "post_processor": "processors", "decoder": "decoders"
}  # fmt: skip


def _component(part: str) -> st.SearchStrategy[Any]:
    """A component of this part: one that may have odd arguments, a row of them, or anything."""
    kinds = [st.fixed_dictionaries({"type": st.just(name), **arguments}) for name, arguments in _KINDS[part].items()]
    one: st.SearchStrategy[Any] = st.one_of(*kinds)
    if part in _LISTS:
        rows = st.tuples(st.lists(one, min_size=1, max_size=3), st.sampled_from([1, 1, 2, 6]))
        row = rows.map(lambda row: {"type": "Sequence", _LISTS[part]: row[0] * row[1]})
        one = st.one_of(one, one, row, st.just(None))
    return one


_SOUND_MODEL = {
    "type": "BPE", "vocab": {token: number for number, token in enumerate([*_TOKENS, *"cdefghijklmnopqrstuvwxyz"])},
    "merges": [["a", "b"]], "unk_token": "<unk>", "byte_fallback": True,
}  # fmt: skip
_SPECIAL = [
    {"id": number, "content": token, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
     "normalized": False} for number, token in enumerate(("<s>", "</s>", "<unk>"))
]  # fmt: skip
# Most of a tokenizer is sound, so that what is not is reached.
_tokenizers = st.tuples(
    st.dictionaries(st.sampled_from(sorted(_LISTS)), st.just(None), min_size=1, max_size=2).flatmap(
        lambda parts: st.fixed_dictionaries({part: _component(part) for part in parts})
    ),
    st.one_of(st.just(_SOUND_MODEL), st.just(_SOUND_MODEL), _component("model")),
    st.one_of(st.just([]), st.just([]), hostile.edits),
)


def _write_components(folder: Path, example: Any) -> int:
    parts, model, made = ({}, _SOUND_MODEL, []) if example == SOUND else example
    whole = {"version": "1.0", "added_tokens": _SPECIAL, "model": model, **dict.fromkeys(_LISTS), **parts}
    (folder / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": "</s>"}')
    return (folder / "tokenizer.json").write_bytes(hostile.text_of(hostile.edited(whole, made)))


def _read_components(folder: Path) -> None:
    with _hurried():
        made = Tokenizer.from_folder(folder)
        ids = made.encode(TEXT)
        stream = made.stream()
        for number in [*ids[:20], *range(min(8, made.vocab_size))]:
            stream.push(number)
        stream.end()
        made.token(made.vocab_size)


# --- chat templates ---------------------------------------------------------------------------------------------------

_atoms = st.sampled_from(
    ["'a'", "'%s'", "'{}'", "''", "1", "0", "99", "99999", "10**9", "-1", "2.5e308", "none", "messages", "bos_token",
     "messages[0]", "messages[0].content", "messages[-1]['role']", "namespace(x='a')", "dict(a=1)", "[1, 2]", "ns.x",
     "range(99)", "range(99999)", "lipsum", "cycler", "joiner", "self", "loop", "loop.index", "strftime_now", "m",
     "strftime_now('%Y' * 999)", "raise_exception('no')", "lipsum(n=99)", "missing", "true", "'\\ud800'", "caller"]
)  # fmt: skip
_FILTERS = (
    "length", "join", "list", "string", "tojson", "tojson(indent={})", "center({})", "indent({})", "wordwrap({})",
    "format({})", "replace('a', 'a' * {})", "batch({})", "slice({})", "map('string')", "sort", "unique", "reverse", "e",
    "attr('__class__')", "attr('format')", "random", "sum", "truncate({})", "pprint", "xmlattr", "urlize", "trim({})",
    "groupby({})", "tojson(separators={})", "default({})", "int", "float", "abs", "dictsort", "filesizeformat",
)  # fmt: skip
_ATTRIBUTES = (
    "x", "__class__", "__init__", "format", "__globals__", "append", "items()", "upper()", "update", "mro()",
    "join(messages)", "zfill(99999999)", "ljust(10**9)", "fromkeys(range(99999))", "encode()", "__add__",
)  # fmt: skip
_OPERATORS = ("+", "-", "*", "**", "~", "//", "%", "<", "in", "and", "is")
_expressions = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(_OPERATORS), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from(_FILTERS), inner).map(lambda t: f"({t[0]} | {t[1].replace('{}', t[2])})"),
        st.tuples(inner, st.sampled_from(_ATTRIBUTES)).map(lambda t: f"{t[0]}.{t[1]}"),
        st.tuples(inner, inner).map(lambda t: f"{t[0]}[{t[1]}]"),
        inner.map(lambda one: f"{one}({one})"),
    ),
    max_leaves=5,
)
_statements = st.recursive(
    st.one_of(
        _expressions.map(lambda one: "{{ " + one + " }}"),
        _expressions.map(lambda one: "{% set ns.x = " + one + " %}"),
        _expressions.map(lambda one: "{% set m = " + one + " %}"),
        st.sampled_from(
            ["{% set ns = namespace(x='a') %}", "{% break %}", "{% include 'x' %}", "{% import m %}", "{% extends m %}",
             "{% set ns.x = ns.x ~ ns.x %}", "{{ m() }}", "{%", "{#", "{{", "text\n", "{% endfor %}"]
        ),
    ),
    lambda inner: st.one_of(
        st.tuples(_expressions, inner).map(lambda t: "{% for m in " + t[0] + " %}" + t[1] + "{% endfor %}"),
        st.tuples(_expressions, inner).map(lambda t: "{% if " + t[0] + " %}" + t[1] + "{% endif %}"),
        inner.map(lambda one: "{% macro m() %}" + one + "{% endmacro %}{{ m() }}"),
        inner.map(lambda one: "{% generation %}" + one + "{% endgeneration %}"),
        st.tuples(st.sampled_from(_FILTERS), inner).map(
            lambda t: "{% filter " + t[0].replace("{}", "9") + " %}" + t[1] + "{% endfilter %}"
        ),
        st.tuples(inner, st.sampled_from([2, 30])).map(lambda t: "".join([t[0]] * t[1])),
        st.tuples(inner, inner).map("".join),
    ),
    max_leaves=6,
)  # fmt: skip
_BOUND = "{% set ns = namespace(x='a') %}{% set m = [1, 'a'] %}"  # what the statements use
_CHAT = [{"role": "user", "content": "hi <s>"}, {"role": "assistant", "content": "yes"}]


def _write_template(folder: Path, example: Any) -> int:
    template, tokens = ("{{ bos_token }}{{ messages[0].content }}", {}) if example == SOUND else example
    _write_components(folder, SOUND)
    settings = {"bos_token": "<s>", "eos_token": "</s>", **tokens}
    content = (_BOUND + template + "{{ messages[0].content }}").encode("utf-8", "surrogatepass")
    (folder / "tokenizer_config.json").write_bytes(json.dumps(settings).encode("ascii"))
    return (folder / "chat_template.jinja").write_bytes(content)


def _read_template(folder: Path) -> None:
    with _hurried():
        made = Tokenizer.from_folder(folder)
        made.chat_format()
        text = made.chat_prompt(_CHAT)
        if len(text) > 1 << 20:
            raise UsageError("it is sound, but there is no time to encode so much.")
        made.encode(text, add_special_tokens=False)


TOKENIZER_READERS = (
    Reader("components", lambda folder: None, _tokenizers, _write_components, _read_components),
    Reader(
        "template",
        lambda folder: None,
        st.tuples(
            _statements,
            st.dictionaries(st.sampled_from(["bos_token", "eos_token", "model_specific_special_tokens"]),
                            st.one_of(_string, hostile.values), max_size=1),
        ),
        _write_template,
        _read_template,
    ),
)  # fmt: skip
