"""The readers that are fuzzed: for each how a sound input is made, how it becomes a hostile one, and what reads it."""

from __future__ import annotations

import contextlib
import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hostile
import hostile_onnx
import numpy as np
import tiny_families
from chat_templates import CHATML
from gguf_fields import Metadata, fields_of, file_of
from hypothesis import strategies as st
from mil_package import edit_proto, write_package
from tokenizer_forms import Form, write

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.checkpoint.hf_tokenizer import tokenizer_from_folder
from edgesw.checkpoint.safetensors import INDEX, SafetensorsReader
from edgesw.decoder.spec import DecoderSpec, Rotary
from edgesw.errors import PackageError
from edgesw.outliers.agreement import RecipeAgreement
from edgesw.package.manifest import (
    MANIFEST,
    Manifest,
    PackagedModel,
    PackagedSuperWeight,
    PackagedTokenizer,
    PackageSettings,
    PackageSource,
    read_manifest,
)
from edgesw.package.publish import check_files, list_files
from edgesw.recipes.recipes import read_recipes
from edgesw.runtime.coreml_interface import read_interface
from edgesw.runtime.mil import MilProgram
from edgesw.runtime.mil_plan import read_spec
from edgesw.targets.registry import TARGETS
from edgesw.text.chat_format_derive import derive_format
from edgesw.text.tokenizer import Tokenizer

SOUND = "sound"


@dataclass(frozen=True)
class Reader:
    """One reader of files that come from anywhere."""

    name: str
    prepare: Callable[[Path], None]
    """Makes the sound files of a folder."""
    inputs: st.SearchStrategy[Any]
    write: Callable[[Path, Any], int]
    """Makes an input of the folder, of this many bytes; SOUND: the one without an edit."""
    read: Callable[[Path], object]


# --- safetensors -----------------------------------------------------------------------------------------------------

_HEADER: dict[str, Any] = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
    "c": {"dtype": "F16", "shape": [], "data_offsets": [32, 34]},
    "d": {"dtype": "F64", "shape": [1, 1, 1], "data_offsets": [34, 42]},
}
_SHARDS = {"metadata": {"total_size": 42}, "weight_map": dict.fromkeys("abcd", "model.safetensors")}
_twice = st.none() | st.sampled_from(["a", "name", "format", "weight_map", "hidden_size", "models"])


def _write_safetensors(folder: Path, example: Any) -> int:
    header, twice, length, index, changes = ([], None, None, None, []) if example == SOUND else example
    text = hostile.text_of(hostile.edited(_HEADER, header), twice)
    content = struct.pack("<Q", len(text) if length is None else length % 2**64) + text + bytes(42)
    content = hostile.damaged(content, changes)
    (folder / "model.safetensors").write_bytes(content)
    (folder / INDEX).unlink(missing_ok=True)
    if index is None:
        return len(content)
    places = hostile.damaged(hostile.text_of(hostile.edited(_SHARDS, index), twice), changes)
    return len(content) + (folder / INDEX).write_bytes(places)


def _read_safetensors(folder: Path) -> None:
    reader = SafetensorsReader(folder)
    for name in sorted(reader.names()):
        reader.shape(name)
        reader.read(name)
        if reader.shape(name):
            reader.read(name, slice(0, 1))


# --- GGUF ------------------------------------------------------------------------------------------------------------

_PIECES = ["<unk>", "<s>", "</s>", "\u2581", "a", "b", "\u2581a", "ab", "<0x0A>", "c"]


def _vocabulary(model: str) -> Metadata:
    return {
        "tokenizer.ggml.model": ("str", model),
        "tokenizer.ggml.pre": ("str", "llama-bpe"),
        "tokenizer.ggml.tokens": ("list", ("str", _PIECES)),
        "tokenizer.ggml.scores": ("list", ("f", [0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0, 0.0, -6.0])),
        "tokenizer.ggml.token_type": ("list", ("i", [2, 3, 3, 1, 1, 1, 1, 1, 6, 4])),
        "tokenizer.ggml.merges": ("list", ("str", ["a b", "\u2581 a"])),
        "tokenizer.ggml.precompiled_charsmap": ("list", ("b", [0] * 8)),
        "tokenizer.ggml.bos_token_id": ("I", 1),
        "tokenizer.ggml.eos_token_id": ("I", 2),
        "tokenizer.ggml.padding_token_id": ("I", 0),
        "tokenizer.ggml.add_bos_token": ("?", True),
        "tokenizer.chat_template": ("str", "{{ messages }}"),
    }


_MODEL: Metadata = {
    "general.architecture": ("str", "llama"),
    "general.alignment": ("I", 32),
    "llama.block_count": ("I", 1),
    "llama.context_length": ("I", 64),
    "llama.embedding_length": ("I", 8),
    "llama.feed_forward_length": ("I", 8),
    "llama.attention.head_count": ("I", 2),
    "llama.attention.head_count_kv": ("I", 1),
    "llama.attention.layer_norm_rms_epsilon": ("f", 1e-5),
    "llama.rope.freq_base": ("f", 10000.0),
    "llama.rope.dimension_count": ("I", 4),
}
_SELDOM = (
    "llama.attention.key_length", "llama.attention.value_length", "llama.expert_count", "llama.attention.scale",
    "llama.rope.scaling.type", "llama.rope.scaling.factor", "llama.rope.scaling.attn_factor", "llama.rope.scale_linear",
    "llama.rope.scaling.original_context_length", "llama.attention.sliding_window", "split.count",
    "tokenizer.ggml.eot_token_id", "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.add_space_prefix",
    "tokenizer.ggml.remove_extra_whitespaces", "llama.vocab_size",
)  # fmt: skip
_KEYS = (*_MODEL, *_vocabulary("llama"), *_SELDOM)
_TENSORS = {
    "token_embd.weight": (10, 8),
    "output_norm.weight": (8,),
    "blk.0.attn_norm.weight": (8,),
    "blk.0.ffn_norm.weight": (8,),
    "blk.0.attn_q.weight": (8, 8),
    "blk.0.attn_k.weight": (4, 8),
    "blk.0.attn_v.weight": (4, 8),
    "blk.0.attn_output.weight": (8, 8),
    "blk.0.ffn_gate.weight": (8, 8),
    "blk.0.ffn_up.weight": (8, 8),
    "blk.0.ffn_down.weight": (8, 8),
}


@cache
def _tensors() -> dict[str, np.ndarray]:
    return {name: np.ones(shape, np.float32) for name, shape in _TENSORS.items()}


_integer = st.one_of(st.sampled_from(hostile.NUMBERS), st.integers(-3, 300))
_text = st.sampled_from(["yarn", "linear", "longrope", "none", "gpt2", "t5", "llama", "qwen2", "phi3", *hostile.NAMES])
_typed: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(st.sampled_from("BbHhIiQq"), _integer),
    st.tuples(st.sampled_from("fd"), st.floats(width=32)),
    st.tuples(st.just("?"), st.booleans()),
    st.tuples(st.just("str"), _text | st.text(max_size=6)),
    st.tuples(st.just("list"), st.tuples(st.sampled_from("BbHhIiQq"), st.lists(_integer, max_size=12))),
    st.tuples(st.just("list"), st.tuples(st.just("f"), st.lists(st.floats(width=32), max_size=12))),
    st.tuples(st.just("list"), st.tuples(st.just("str"), st.lists(_text | st.sampled_from(_PIECES), max_size=12))),
    st.integers(1, 1200).map(lambda depth: ("nested", depth)),
)


def _metadata(model: str, changed: Metadata) -> Metadata:
    whole = {**_MODEL, **_vocabulary(model), **changed}
    for key, (kind, value) in whole.items():
        if kind == "nested":
            inner: tuple[str, Any] = ("B", [1])
            for _ in range(value):
                inner = ("list", [inner])
            whole[key] = ("list", inner)
    return whole


def _write_gguf(folder: Path, example: Any) -> int:
    model, changed, lies, changes = ("llama", {}, [], []) if example == SOUND else example
    fields, data = fields_of(_metadata(model, changed), _tensors())
    for where, action, number in lies:
        at = where % len(fields)
        kind, value = fields[at]
        if action == "drop":
            del fields[at]
        elif action == "copy":
            fields[at:at] = fields[at : at + number % 8]
        else:
            fields[at] = (kind, value[: number % 9] if kind == "raw" else number)
        fields = fields or [("raw", b"GGUF")]
    content = hostile.damaged(file_of(fields, data), changes)
    return (folder / "model.gguf").write_bytes(content)


def _read_gguf(folder: Path) -> None:
    checkpoint = open_checkpoint(str(folder / "model.gguf"))
    asdict(checkpoint.spec)
    for name in checkpoint.names():
        checkpoint.tensor(name)
    checkpoint.tokenizer_files()


# --- config.json -----------------------------------------------------------------------------------------------------

_VARIANTS = (
    "llama-3",
    "llama-yarn",
    "smollm3-sliding",
    "qwen2-sliding",
    "phi3-longrope",
    "phi3-partial",
    "gemma3",
    "olmo",
)


def _prepare_configs(folder: Path) -> None:
    for variant in _VARIANTS:
        tiny_families.save(variant, folder / variant)
        (folder / variant / "config.json").rename(folder / f"{variant}.json")


def _write_config(folder: Path, example: Any) -> int:
    variant, made, twice, changes = ("llama-3", [], None, []) if example == SOUND else example
    sound = json.loads((folder / f"{variant}.json").read_bytes())
    content = hostile.damaged(hostile.text_of(hostile.edited(sound, made), twice), changes)
    (folder / "variant").write_text(variant)
    (folder / variant / "config.json").write_bytes(content)
    return len(content)


def _read_config(folder: Path) -> None:
    checkpoint = open_checkpoint(str(folder / (folder / "variant").read_text()))
    json.dumps(asdict(checkpoint.spec), allow_nan=False)
    checkpoint.spec.parameters()
    for name in checkpoint.names()[:6]:
        checkpoint.tensor(name)


# --- tokenizers ------------------------------------------------------------------------------------------------------

_FORMS = {
    "bytes": Form(ends="bos", named="decoder", template="both", extra="dict"),
    "llama": Form("metaspace", "LlamaTokenizer", "bos", named="map", extra="list"),
    "unigram": Form("unigram", "NoSuchTokenizer", "eos", template="list"),
    "merges": Form("bytes", "Qwen2Tokenizer", model="qwen2", files="merges"),
}
# Keys that name files, code or objects where a library takes the rest of the table at its word.
_ARGUMENTS = (
    "vocab", "merges", "vocab_file", "tokenizer_file", "tokenizer_object", "gguf_file", "spm_file", "name_or_path",
    "fast_tokenizer_files", "auto_map", "tokenizer_class", "chat_template", "init_inputs", "added_tokens_decoder",
    "extra_special_tokens", "model_specific_special_tokens", "model_max_length", "padding_side", "fix_mistral_regex",
)  # fmt: skip


def _prepare_tokenizers(folder: Path) -> None:
    for name, form in _FORMS.items():
        write(folder / name, form)
    for path in [*folder.glob("*/*.json")]:
        path.rename(path.with_suffix(".sound"))


def _write_tokenizer(folder: Path, example: Any) -> int:
    name, file, made, arguments, twice, changes = ("bytes", 0, [], {}, None, []) if example == SOUND else example
    (folder / "form").write_text(name)
    size, paths = 0, sorted((folder / name).glob("*.sound"))
    for number, path in enumerate(paths):
        content = path.read_bytes()
        values = json.loads(content)
        if path.stem == "tokenizer_config":
            values |= arguments
        if number == file % len(paths):
            content = hostile.damaged(hostile.text_of(hostile.edited(values, made), twice), changes)
        elif arguments:
            content = hostile.text_of(values, None)
        size += path.with_suffix(".json").write_bytes(content)
    return size


def _read_tokenizer(folder: Path) -> None:
    tempfile.tempdir = str(folder)
    try:
        files = tokenizer_from_folder(folder / (folder / "form").read_text())
    finally:
        tempfile.tempdir = None
    made = Tokenizer.from_files(files)
    made.decode(made.encode("The <s> county's\n  brass"))


# --- recipes ---------------------------------------------------------------------------------------------------------

_RECIPE: dict[str, Any] = {
    "name": "tiny",
    "hub_id": "some/tiny",
    "aliases": ["small"],
    "package": {"module": "tiny_model", "files": "*.gguf", "pypi": "tiny-model"},
    "super_weights": [{"at": [1, 2, 3], "source": ["measured"], "disputed": "no"}],
    "cancels_at": [[1, 2, 4]],
    "notes": "some",
    "license": "MIT",
}
_LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
_MERGES = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
_YAML = (
    _LAUGHS, _MERGES, "&a [*a]\n", "name: &n tiny\naliases: [*n]\n", "!!python/object/apply:os.system ['true']\n",
    "!!python/name:os.system\n", "notes: !!timestamp x\n", "notes: 2001-99-99\n", "notes: !!int x\n", "notes: 0x_\n",
    "notes: !!bool x\n", "notes: !!float x\n", "notes: !!binary x\n", "? [a, b]\n: c\n", "? {a: b}\n: c\n",
    "--- a\n--- b\n", "%YAML 9.9\n---\nname: tiny\n", "notes: |\n  x\n y\n", "notes: !!set {a, b}\n", "\t\n",
    "notes: !!omap [a: 1]\n", "\ufeffname: tiny\n", "notes: 190:20:30.15\n", "<<: {name: tiny}\n", "notes: .inf\n",
    "notes: !!null x\n", "- - - - - -\n", "{" * 500 + "\n", "[" * 300 + "\n", "? " * 700 + "\n", "- " * 700 + "\n",
    "a: " * 50 + "\n", "name: \x85\n", "name: tiny\nname: tiny\n",
)  # fmt: skip


def _write_recipe(folder: Path, example: Any) -> int:
    made, twice, lines, changes = ([], None, [], []) if example == SOUND else example
    text = hostile.text_of(hostile.edited(_RECIPE, made), twice) + b"\n"
    if lines:
        text = "".join(lines).encode() + (b"" if len(lines) % 2 else text)
    return (folder / "tiny.yaml").write_bytes(hostile.damaged(text, changes))


# --- manifests -------------------------------------------------------------------------------------------------------


def _prepare_manifest(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"model")
    (folder / "README.md").write_bytes(b"# Tiny")
    spec = DecoderSpec(
        "llama", 2, 8, 16, 2, 1, 4, 32, 64, 1e-5, True, 1, (2,), (Rotary((1.0, 0.1)),), (0, None), (None, 16),
        biased=("q_proj",), attention_softcap=2.0,
    )  # fmt: skip
    model = PackagedModel(
        "model.onnx", ("model.onnx",), "block", 4.6, {"block": ["embed_tokens"]}, {"portable": False}, "run"
    )
    manifest = Manifest(
        PackageSource("tiny", "local folder", None), None, PackageSettings(4, None, 8, 1, 64, None, True, 0.0, "fast"),
        {"edgesw": "1"}, spec, {"onnx": model}, (PackagedSuperWeight(0, 1, 2, 1.5),), None, list_files(folder),
        agreement=RecipeAgreement("tiny", ((0, 1, 2),)), held_out_columns={"layers.0.down_proj": [2]},
        correction_bytes=20, tokenizer=PackagedTokenizer((1,), (), (2,)), chat_format=derive_format(CHATML, {}),
    )  # fmt: skip
    (folder.parent / "sound.json").write_text(manifest.to_json())


def _write_manifest(folder: Path, example: Any) -> int:
    made, twice, changes = ([], None, []) if example == SOUND else example
    sound = json.loads((folder.parent / "sound.json").read_bytes())
    content = hostile.damaged(hostile.text_of(hostile.edited(sound, made), twice), changes)
    return (folder / MANIFEST).write_bytes(content)


def _read_manifest(folder: Path) -> None:
    manifest = read_manifest(folder)
    check_files(folder, manifest, contents=True)
    assert manifest.context > 0 and next(iter(manifest.models)) and manifest.source.name
    paths = [path for model in manifest.models.values() for path in (model.path, *model.files)]
    for target in manifest.models.keys() & TARGETS.keys():
        with contextlib.suppress(PackageError):
            TARGETS[target].options_of(manifest.models[target])
    for path in [*manifest.files, *paths]:
        assert (folder / path).resolve().is_relative_to(folder)
    sum(map(len, manifest.held_out_columns.values()))
    json.loads(manifest.to_json())
    hash(manifest.decoder)


# --- .mlpackage ------------------------------------------------------------------------------------------------------


def _prepare_mlpackage(folder: Path) -> None:
    write_package(folder)
    parts = _parts(folder)
    for part in parts:
        (folder.parent / part.name).write_bytes(part.read_bytes())


def _parts(folder: Path) -> tuple[Path, Path, Path]:
    data = folder / "Data" / "com.apple.CoreML"
    return folder / "Manifest.json", data / "model.mlmodel", data / "weights" / "weight.bin"


def _write_mlpackage(folder: Path, example: Any) -> int:
    made, proto, changes = ([], [], ([], [], [])) if example == SOUND else example
    size = 0
    for part, changed in zip(_parts(folder), changes, strict=True):
        sound = folder.parent / part.name
        content = sound.read_bytes()
        if part.name == "Manifest.json" and made:
            content = hostile.text_of(hostile.edited(json.loads(content), made))
        elif part.suffix == ".mlmodel" and proto:
            spec = read_spec(sound)
            for edit in proto:
                edit_proto(spec, *edit)
            content = spec.SerializeToString()
        content = hostile.damaged(content, changed)
        size += part.write_bytes(content)
    return size


def _read_mlpackage(folder: Path) -> None:
    read_interface(folder)
    program = MilProgram(folder)
    program.make_state()
    for constant in program._plan.constants.values():
        _ = constant.value


_proto = st.tuples(
    st.integers(0, 2**16),
    st.sampled_from(["set", "set", "set", "clear", "repeat"]),
    st.one_of(st.sampled_from(hostile.NUMBERS), st.integers(0, 40)),
    st.sampled_from(
        [
            "x",
            "x_0",
            "cache",
            "matmul",
            "const",
            "iOS18",
            "@model_path/../../secret",
            "@model_path/link",
            *hostile.NAMES,
        ]
    ),
)

READERS = (
    Reader(
        "safetensors",
        lambda folder: None,
        st.tuples(
            hostile.edits,
            _twice,
            st.none() | st.none() | st.sampled_from(hostile.NUMBERS),
            st.none() | hostile.edits,
            hostile.byte_edits,
        ),
        _write_safetensors,
        _read_safetensors,
    ),
    Reader(
        "gguf",
        lambda folder: None,
        st.tuples(
            st.sampled_from(["llama", "gpt2", "t5"]),
            st.dictionaries(st.sampled_from(_KEYS), _typed, max_size=3),
            st.lists(
                st.tuples(st.integers(0, 2**16), st.sampled_from(["set", "set", "drop", "copy"]), _integer), max_size=3
            ),
            hostile.byte_edits,
        ),
        _write_gguf,
        _read_gguf,
    ),
    Reader(
        "config",
        _prepare_configs,
        st.tuples(st.sampled_from(_VARIANTS), hostile.edits, _twice, hostile.byte_edits),
        _write_config,
        _read_config,
    ),
    Reader(
        "tokenizer",
        _prepare_tokenizers,
        st.tuples(
            st.sampled_from(list(_FORMS)),
            st.integers(0, 9),
            hostile.edits,
            st.dictionaries(st.sampled_from(_ARGUMENTS), hostile.values, max_size=2),
            _twice,
            hostile.byte_edits,
        ),
        _write_tokenizer,
        _read_tokenizer,
    ),
    Reader(
        "recipe",
        lambda folder: None,
        st.tuples(hostile.edits, _twice, st.lists(st.sampled_from(_YAML), max_size=3), hostile.byte_edits),
        _write_recipe,
        read_recipes,
    ),
    Reader(
        "manifest",
        _prepare_manifest,
        st.tuples(hostile.edits, _twice, hostile.byte_edits),
        _write_manifest,
        _read_manifest,
    ),
    Reader(
        "mlpackage",
        _prepare_mlpackage,
        st.tuples(
            st.just([]) | hostile.edits,
            st.just([]) | st.lists(_proto, max_size=4),
            st.one_of(st.just([[], [], []]), st.tuples(hostile.byte_edits, hostile.byte_edits, hostile.byte_edits)),
        ),
        _write_mlpackage,
        _read_mlpackage,
    ),
    Reader("onnx", lambda folder: None, hostile_onnx.INPUTS, hostile_onnx.write, hostile_onnx.read),
)
