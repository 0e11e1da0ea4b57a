"""Golden files for the tokenizers: texts, and how Hugging Face's `tokenizers` encodes and decodes them.

Each kind has a folder in FOLDER/tokenizers with the tokenizer's files and, line by line, `ids.txt` (the tokens of the
lines of ../lines.jsonl), `whole.txt` (those of the first hundred, with what is put around a text), `texts.jsonl`
(the tokens decoded, without and with special tokens) and `streams.jsonl` (tokens, and the text that edgesw's TextStream
returns for each of them and at the end). `classes.json` and `patterns.json` list which characters the library's regular
expressions count as which, and how they match.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from text_lines import lines, training
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from edgesw.checkpoint import gguf_bpe, gguf_sentencepiece
from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.checkpoint.gguf_vocabulary import Kind, Vocabulary
from edgesw.checkpoint.hf_tokenizer import tokenizer_from_folder
from edgesw.text.tokenizer import Tokenizer

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
Files = dict[str, bytes]


def make(folder: Path) -> None:
    folder = folder / "tokenizers"
    folder.mkdir(exist_ok=True)
    texts = lines()
    _write(folder / "lines.jsonl", texts)
    for name, files in KINDS.items():
        _make_kind(folder / name, files(), texts)
    (folder / "classes.json").write_text(json.dumps(_classes()))
    (folder / "patterns.json").write_text(json.dumps(_patterns()))


def _make_kind(folder: Path, files: Files, texts: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    tokenizer = Tokenizer.from_files(files)
    around = {"prefix": tokenizer.prefix_ids, "suffix": tokenizer.suffix_ids}
    facts = {**around, "stop": tokenizer.eos_ids, "size": tokenizer.vocab_size}
    (folder / "facts.json").write_text(json.dumps(facts))
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    whole = [tokenizer.encode(text) for text in texts[:100]]
    for name, rows in (("ids.txt", ids), ("whole.txt", whole)):
        (folder / name).write_text("".join(" ".join(map(str, each)) + "\n" for each in rows))
    _write(folder / "texts.jsonl", ([tokenizer.decode(i), tokenizer.decode(i, special=True)] for i in ids))
    rng = random.Random(1)
    # Tokens in any order: incomplete and invalid characters, and ids without a token.
    wild = [[rng.randrange(tokenizer.vocab_size + 2) for _ in range(rng.randrange(1, 40))] for _ in range(2000)]
    _write(folder / "streams.jsonl", (_streamed(tokenizer, i) for i in [*ids[::7], *wild] if len(i) < 2000))


def _streamed(tokenizer: Tokenizer, ids: list[int]) -> dict[str, Any]:
    stream = tokenizer.stream()
    return {"ids": ids, "texts": [*(stream.push(token) for token in ids), stream.end()], "text": tokenizer.decode(ids)}


def _write(path: Path, values: Iterable[Any]) -> None:
    path.write_text("".join(f"{json.dumps(value)}\n" for value in values))


def _smollm2() -> Files:
    """Returns SmolLM2's own tokenizer, from its GGUF file: byte-level BPE, single digits, 49,152 tokens."""
    return open_checkpoint("smollm2-135m").tokenizer_files()


def _files(backend: Backend, bos: str | None, eos: str, *, ends: bool = False, **more: Any) -> Files:
    """Returns the files of a tokenizer that puts BOS before a text and, with `ends`, EOS after it."""
    single = " ".join([*([bos] if bos else []), "$A", *([eos] if ends else [])])
    special = [(token, backend.token_to_id(token)) for token in (bos, eos) if token]
    backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    config = {"bos_token": bos, "eos_token": eos, **more}
    generation = {"eos_token_id": [backend.token_to_id(eos), 3]}
    return {
        "tokenizer.json": backend.to_str().encode(),
        "tokenizer_config.json": json.dumps(config).encode(),
        "generation_config.json": json.dumps(generation).encode(),
    }


def _bytes(pattern: str, *, size: int, compose: bool, whole_words: bool) -> Backend:
    """Returns trained byte-level BPE over words of this pattern."""
    backend = Backend(models.BPE(ignore_merges=whole_words))
    if compose:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        training(), trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    return backend


def _llama3() -> Files:
    """Returns a tokenizer with Llama 3's words. A word in the vocabulary is one token even if no merge makes it."""
    backend = _bytes(gguf_bpe._LLAMA3, size=3000, compose=False, whole_words=True)
    state = json.loads(backend.to_str())
    # Words that no merge makes.
    for word in ("Ġhorse", "Ġпривет", "ðŁĺĢ", "!!!", "Ġ123"):
        state["model"]["vocab"].setdefault(word, len(state["model"]["vocab"]))
    backend = Backend.from_str(json.dumps(state))
    marks = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    backend.add_special_tokens(marks)
    return _files(backend, marks[0], marks[2])


def _qwen2() -> Files:
    """Returns a tokenizer with Qwen2's words over composed characters, and added tokens of every kind."""
    backend = _bytes(gguf_bpe._QWEN2, size=2000, compose=True, whole_words=False)
    backend.add_special_tokens(["<|endoftext|>", AddedToken("<|im_start|>", lstrip=True), AddedToken("<|im_end|>")])
    backend.add_tokens(
        [
            AddedToken("<think>", normalized=False),
            AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False),
            AddedToken("word", single_word=True, normalized=False),
            AddedToken("caf\u00e9", normalized=True),
            AddedToken("    ", normalized=False),
            AddedToken("  ", normalized=False),
        ]
    )
    return _files(backend, None, "<|im_end|>", bos_token=None)


def _o200k() -> Files:
    """Returns a tokenizer whose words end before capitals (GPT-4o, Llama 4)."""
    pattern = gguf_bpe.PRE_TOKENIZERS["llama4"].pattern
    assert pattern is not None
    backend = _bytes(pattern, size=2000, compose=False, whole_words=False)
    backend.add_special_tokens(["<|endoftext|>"])
    return _files(backend, "<|endoftext|>", "<|endoftext|>")


def _vocabulary(bytes_too: bool = True) -> Vocabulary:
    """Returns a vocabulary as in SentencePiece BPE: special tokens, bytes, merges by rank, single characters."""
    trained = Backend(models.BPE())
    trained.normalizer = normalizers.Replace(" ", SPACE)
    trained.pre_tokenizer = pre_tokenizers.Metaspace(split=True)
    trained.train_from_iterator(
        training(), trainers.BpeTrainer(vocab_size=3000, limit_alphabet=400, show_progress=False)
    )
    # Only some scripts have tokens of their own, so that the others are encoded as bytes.
    pieces = [p for p, _ in sorted(trained.get_vocab().items(), key=lambda pair: pair[1]) if max(p) < "\u3100"]
    pieces = sorted({*pieces, SPACE} - set("\t\n\r"), key=lambda piece: (len(piece) == 1, pieces.index(piece)))
    head = {"<unk>": Kind.UNKNOWN, "<s>": Kind.CONTROL, "</s>": Kind.CONTROL}
    head |= {f"<0x{byte:02X}>": Kind.BYTE for byte in range(256 if bytes_too else 0)}
    scores = [*[0.0] * len(head), *(-float(number) for number in range(len(pieces)))]
    kinds = [*map(int, head.values()), *[int(Kind.NORMAL)] * len(pieces)]
    return Vocabulary((*head, *pieces), tuple(kinds), tuple(scores))


def _mistral() -> Files:
    """Returns SentencePiece BPE with bytes, as edgesw writes it from GGUF files: normalizers add a space in front."""
    backend = gguf_sentencepiece.bpe(_vocabulary(), prefix=True)
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.add_tokens([AddedToken("[INST]", normalized=False), AddedToken("<|end|>", rstrip=True, normalized=True)])
    return _files(backend, "<s>", "</s>")


def _llama2() -> Files:
    """Returns SentencePiece BPE as newer files write it: Metaspace adds a space in front of only the first word, and
    its decoder removes it. Without bytes, a run of unknown characters is one unknown token."""
    backend = gguf_sentencepiece.bpe(_vocabulary(bytes_too=False), prefix=False)
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence([decoders.Metaspace(prepend_scheme="first")])
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    return _files(backend, "<s>", "</s>")


def _gemma() -> Files:
    """Returns a tokenizer without a space in front, whose words end with their spaces, as in Gemma's file."""
    backend = gguf_sentencepiece.bpe(_vocabulary(), prefix=False)
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("\t", normalized=False)])
    return _files(backend, "<s>", "</s>")


def _unigram_pairs() -> list[tuple[str, float]]:
    trained = Backend(models.Unigram())
    trained.normalizer = normalizers.NFKC()
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(
        training(),
        trainers.UnigramTrainer(vocab_size=3000, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False),
    )
    return [(token, score) for token, score in json.loads(trained.to_str())["model"]["vocab"] if token != "<unk>"]


def _unigram() -> Files:
    """Returns Unigram with bytes after NFKC, with Metaspace's words."""
    pairs = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((f"<0x{byte:02X}>", 0.0) for byte in range(256))]
    backend = Backend(models.Unigram([*pairs, *_unigram_pairs()], unk_id=0, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")])
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    return _files(backend, "<s>", "</s>")


def _charsmap() -> Files:
    """Returns Unigram without bytes after SentencePiece's table of characters, spaces merged, as edgesw writes it."""
    pairs = [("<unk>", 0.0), ("</s>", 0.0), *_unigram_pairs()]
    kinds = (int(Kind.UNKNOWN), int(Kind.CONTROL), *[int(Kind.NORMAL)] * (len(pairs) - 2))
    vocabulary = Vocabulary(tuple(t for t, _ in pairs), kinds, tuple(s for _, s in pairs))
    backend = gguf_sentencepiece.unigram(vocabulary, prefix=True, merge_spaces=True, charsmap=_charsmap_table())
    backend.add_special_tokens(["<unk>", "</s>"])
    return _files(backend, None, "</s>", ends=True)


def _charsmap_table() -> bytes:
    """Returns NFKC of the characters that it maps to one or two others, and some that are removed."""
    import unicodedata

    from charsmaps import charsmap

    changed: dict[str, str] = {
        "\t": " ",
        "\r\n": " ",
        "\u200b": "",
        "\x07": "",
        "e\u0301": "\u00e9",
        "\uff76\uff9e": "\u30ac",
    }
    for code in (*range(0xA0, 0x250), *range(0x2000, 0x2200), *range(0xFF01, 0xFFA0)):
        other = unicodedata.normalize("NFKC", chr(code))
        if other != chr(code) and len(other) <= 2:
            changed[chr(code)] = other
    return charsmap(changed)


def _rebuilt(files: Files, tokenizer_class: str, model_type: str) -> Files:
    """Returns what transformers makes of a tokenizer whose class it builds itself."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        config = json.loads(files["tokenizer_config.json"]) | {"tokenizer_class": tokenizer_class}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
        made = tokenizer_from_folder(folder)
    assert made["tokenizer.json"] != files["tokenizer.json"]
    return {**made, "generation_config.json": files["generation_config.json"]}


KINDS: dict[str, Callable[[], Files]] = {
    "smollm2": _smollm2,
    "llama3": _llama3,
    "qwen2": _qwen2,
    "o200k": _o200k,
    "mistral": _mistral,
    "llama2": _llama2,
    "gemma": _gemma,
    "unigram": _unigram,
    "charsmap": _charsmap,
    "llama-rebuilt": lambda: _rebuilt(_mistral(), "LlamaTokenizer", "llama"),
    "gemma-rebuilt": lambda: _rebuilt(_mistral(), "GemmaTokenizer", "gemma2"),
    "qwen2-rebuilt": lambda: _rebuilt(_o200k(), "Qwen2Tokenizer", "qwen2"),
}

CLASSES = (
    "L",
    "N",
    "M",
    "P",
    "S",
    "Z",
    "Lu",
    "Ll",
    "Lt",
    "Lm",
    "Lo",
    "Mn",
    "Mc",
    "Nd",
    "Nl",
    "No",
    "Pc",
    "Sc",
    "Cc",
    "Cf",
)


def _classes() -> dict[str, list[list[int]]]:
    """Returns the characters of each class as inclusive ranges, in the planes with assigned characters."""
    codes = [*range(0xD800), *range(0xE000, 0x34000), *range(0xE0000, 0xE0200)]
    everything = "".join(map(chr, codes))
    found = {}
    for pattern in (*(rf"\p{{{name}}}" for name in CLASSES), r"\s", r"\d", r"\w", "(?i:s)", "(?i:k)", "(?i:[a-f])"):
        others = pre_tokenizers.Split(Regex(f"(?:{pattern})+"), "removed").pre_tokenize_str(everything)
        starts, ends = [0, *(end for _, (_, end) in others)], [*(start for _, (start, _) in others), len(codes)]
        pairs = zip(starts, ends, strict=True)
        found[pattern] = [[codes[start], codes[end - 1]] for start, end in pairs if start < end]
    return found


PATTERNS = (
    *(rule.pattern for rule in gguf_bpe.PRE_TOKENIZERS.values() if rule.pattern is not None),
    r"\A +| +\z", " {2,}", "^ +", " +$", "a*", "a?+a", "a++a", "(?:ab|a)(?:bc|c)?", "(?:ab){2}", "(?:ab){1,3}c?",
    "a{1,2}+", "[^a-c\\s]+", r"[\w\-]+", r"\S+(?=\s)", "(?!a)\\w", r"[\x{4E00}-\u9fa5]+", r"\P{L}+", r"\p{^L}+",
    r"[\P{L}x]+", ".", "(a|b)+c", "(?i:'s|'t)|x", r"[\r\n/]+", "b?",
)  # fmt: skip


def _patterns() -> list[dict[str, Any]]:
    """Returns patterns and texts, and how the library splits the text, with and without the matches."""
    rng = random.Random(2)
    texts = ["".join(rng.choice("aabbcx \n '-sStT1Ω漢é") for _ in range(rng.randrange(30))) for _ in range(200)]
    found = []
    for pattern in dict.fromkeys(PATTERNS):
        cut = pre_tokenizers.Split(Regex(pattern), "isolated")
        kept = pre_tokenizers.Split(Regex(pattern), "removed")
        for text in texts:
            parts = [part for part, _ in cut.pre_tokenize_str(text)]
            between = [part for part, _ in kept.pre_tokenize_str(text)]
            found.append({"pattern": pattern, "text": text, "parts": parts, "between": between})
    return found
