"""Small vocabularies as SentencePiece makes them, written as llama.cpp's conversion writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
BYTES = [f"<0x{number:02X}>" for number in range(256)]

TEXTS = [
    "Hello, world!  Two  spaces,\ttabs\t\tand   three\n\n\nand lines.\r\n",
    " leading and trailing ",
    "   ",
    "",
    "In 1234 and 5,678.90 or v2.0: 3.14e-10 ٣٤٥ Ⅷ ½ ²",
    "def f(x):\n    return {'a': [1, 2]}  # don't I'll we've DON'T\n",
    "日本語のテキスト、中文 한국어 العربية עברית हिन्दी ภาษาไทย ελληνικά русский",
    "👩‍👩‍👧‍👦 🎉 🇩🇪 ﷽ ünïcödé u\u0308 \u00a0nbsp\u2003em \x00\x01\x7f\x1b[0m",
    "<s>user</s> <unk> <think>a  b</think> <|mark|>  after the mark",
    "<0x41> is text here, and so is ▁ alone",
    "the the the aaaaaaa aaaa bananananas the  the" * 3,
]


def corpus() -> list[str]:
    folder = Path(__file__).parents[2] / "edgesw" / "text" / "data"
    text = (folder / "calibration.txt").read_text(encoding="utf-8")
    return [*text.split("\n")[:400], *TEXTS, *["日本語のテキスト русский текст ünïcödé\t\tx"] * 20]


def bpe_pieces(size: int = 600) -> tuple[list[str], list[float]]:
    """Pieces and scores of SentencePiece BPE: minus the number of the merge, then single characters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=True)
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=size, show_progress=False))
    pieces = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])]
    merged = [piece for piece in pieces if len(piece) > 1]
    # Few scripts have tokens of their own, so that the others go through bytes; a tab has none either, as in Gemma.
    single = [
        piece for piece in pieces if len(piece) == 1 and piece not in "\t\n\r\x00\x01\x7f\x1b" and piece < "\u0500"
    ]
    single += [SPACE] if SPACE not in single else []
    usable = [piece for piece in merged if set(piece) <= {*single, "\t"}]
    ordered = [*usable, *single]
    return ordered, [-float(number) for number in range(len(ordered))]


def vocabulary(pieces: list[str], scores: list[float], extra: dict[str, int] | None = None) -> dict[str, Any]:
    """Tokens, types and scores: special ones, bytes, `extra` by kind, pieces."""
    extra = extra or {}
    head = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL, **dict.fromkeys(BYTES, BYTE), **extra}
    return {
        "tokens": [*head, *pieces],
        "types": [*head.values(), *[NORMAL] * len(pieces)],
        "scores": [*[0.0] * (len(head) - len(extra)), *[-1000.0] * len(extra), *scores],
    }


def write(path: Path, model: str, vocabulary: dict[str, Any], architecture: str = "llama", **keys: Any) -> Path:
    """A GGUF with a tokenizer and no tensors. `keys` are GGUFWriter's `add_...`."""
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_types(vocabulary["types"])
    writer.add_token_scores(vocabulary["scores"])
    for key, value in keys.items():
        getattr(writer, f"add_{key}")(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
