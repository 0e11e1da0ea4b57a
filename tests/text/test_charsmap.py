"""A damaged table of characters to replace is refused: it would crash the tokenizers library, and the process."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import numpy as np
import pytest
from charsmaps import charsmap

from edgesw.errors import CheckpointError
from edgesw.text.charsmap import check_charsmap
from edgesw.text.tokenizer import Tokenizer

SOUND = charsmap({"ﬁ": "fi", "Ａ": "A", "\u3000": " ", "½": "1/2", "ﬃ": "ffi"})

NORMALISE = """
import json, sys
from tokenizers import normalizers
for table in json.load(sys.stdin):
    try:
        normaliser = normalizers.Precompiled(bytes.fromhex(table))
    except Exception:  # not text: the library says so by itself
        continue
    for text in ("plain", "ﬁnd Ａ\\u3000b ½ ﬃ", *map(chr, range(1, 3000)), "\\U0001f600", "\\uffee"):
        try:
            normaliser.normalize_str(text)
        except BaseException as error:
            sys.exit(f"{table}: {error}")
"""


@pytest.mark.slow
def test_accepted_tables_do_not_crash_the_library() -> None:
    """Otherwise a manipulated GGUF file could end a conversion without a message."""
    random, taken, refused = np.random.default_rng(0), [SOUND], 0
    for _ in range(4000):
        table = bytearray(SOUND)
        where = [*range(4, 4 + int.from_bytes(SOUND[:4], "little"))]
        used = [at for at in where if SOUND[at]] + [*range(len(SOUND) - 20, len(SOUND))]
        for at in random.choice(used, random.integers(1, 3)):
            table[at] = random.integers(256)
        try:
            check_charsmap(bytes(table))
            taken.append(bytes(table))
        except ValueError:
            refused += 1
    assert len(taken) > 400 and refused > 400
    ran = subprocess.run(
        [sys.executable, "-c", NORMALISE], input=json.dumps([each.hex() for each in taken[:800]]), text=True,
        capture_output=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-600:]


@pytest.mark.parametrize(
    "table",
    [b"", b"\1", b"\xff\xff\xff\xff" + bytes(8), bytes(8), b"\5\0\0\0" + bytes(5), b"\4\0\0\0" + bytes(3), SOUND[:400]],
    ids=["empty", "cut", "4 GB", "no units", "odd", "short", "half"],
)
def test_wrong_sizes_are_refused(table: bytes) -> None:
    with pytest.raises(ValueError, match="size"):
        check_charsmap(table)


def test_a_tokenizer_json_is_checked_too() -> None:
    """In a checkpoint's `tokenizer.json`, 12 bytes could allocate 8 GB or end the process."""

    def files(table: bytes) -> dict[str, bytes]:
        step = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
        content = {
            "version": "1.0", "added_tokens": [], "pre_tokenizer": None, "post_processor": None, "decoder": None,
            "normalizer": {"type": "Sequence", "normalizers": [step]},
            "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["fi", -1.0], ["ﬁ", -2.0]]},
        }  # fmt: skip
        return {"tokenizer.json": json.dumps(content).encode()}

    assert Tokenizer.from_files(files(SOUND)).encode("ﬁ", add_special_tokens=False) == [1]
    lying = files(b"\xff\xff\xff\xff" + bytes(8))
    escaped = {"tokenizer.json": lying["tokenizer.json"].replace(b'"precompiled_', b'"\\u0070recompiled_')}
    for each in (lying, escaped):
        with pytest.raises(CheckpointError, match="characters to replace"):
            Tokenizer.from_files(each)
