"""The forms in which checkpoints carry their tokenizers, as folders of a few kilobytes.

`forms()` enumerates named forms, `write` makes the folder of one, and `differences` compares what edgesw makes of a
folder with what transformers does.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from edgesw.checkpoint.hf_tokenizer import tokenizer_from_folder
from edgesw.errors import CheckpointError, UsageError
from edgesw.text.tokenizer import Tokenizer as Ours

BOS, EOS, UNK, PAD, TURN, IMAGE = "<s>", "</s>", "<unk>", "<pad>", "<|turn|>", "<|image|>"
SPECIAL = (UNK, BOS, EOS, PAD, TURN, IMAGE)
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
LLAMA3 += r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_TRAINING = (
    "The county's brass was 12345 times older than 2024's, isn't it? He said: it's here.\n\n  Then  they left.\n",
    "def f(x):\n\treturn x + 1  # naïve café\n\n\nÜber die Brücke; 日本語のテキスト. Привет, мир!\n",
)

TEXTS = (
    "",
    " ",
    "   ",
    "\n",
    "\n\n\n a\n\n",
    "The county's brass",
    "  The  county's   brass  ",
    "naïve cafe\u0301 Ünïcödé 日本語 Привет",
    "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL} \N{GRINNING FACE}\t\x07\u00a0\u2003x",
    f"{BOS}The county{EOS}",
    f"{BOS} The {TURN} brass{PAD}{UNK} {IMAGE}\n{EOS} ",
    "<s><s>12345678 it's I'LL",
    "user\n" * 3 + "<think>\n\n</think>",
    f"{SPACE}a{SPACE}{SPACE}b <0x0A>",
    "\r\n\r\n\tx = 1;  \r\n",
)

TEMPLATES = {
    "plain": (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    ),
    "named": (
        "{{ bos_token }}|{{ unk_token }}|{{ pad_token }}|{{ image_token }}|{{ sep_token }}|{{ nothing }}"
        "{% if tools is not none %}tools{% endif %}{% if documents %}documents{% endif %}"
        "{% for m in messages %}{{ m | tojson(indent=1, sort_keys=true, separators=(',', ' : ')) }}{% endfor %}"
    ),
    "parts": (
        "{% set ns = namespace(last='') %}{% for m in messages %}"
        "{% if m.content is string %}{% set ns.last = m.content %}{% else %}"
        "{% for part in m.content %}{% if part.type != 'text' %}{% continue %}{% endif %}"
        "{% set ns.last = ns.last + part['text'] %}{% endfor %}{% endif %}"
        "{{ m['role'] }}: {{ ns.last | trim }}\n{% endfor %}"
    ),
    "generation": (
        "{% set shown = 'before' %}{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
        "{% set shown = 'inside' %}{{ m.content }}{{ m.reasoning_content }}{% endgeneration %}{{ shown }}"
        "{% else %}{{ m.content }}{{ dict(a=m.role) }}{% endif %}{% endfor %}"
    ),
    "refusing": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}"
    ),
    "undefined": "{{ bos_token + sep_token }}{{ messages[0].content }}",
}

# Before this version keys of a message that are None, and reasoning, were left to the template.
_IS_NEWER = tuple(map(int, version("transformers").split(".")[:2])) >= (5, 23)
_NEWER: dict[str, Any] = {"tool_calls": None, "reasoning": "because"} if _IS_NEWER else {}
CHATS: tuple[list[dict[str, Any]], ...] = (
    [{"role": "user", "content": "Hello <there> & 'you'"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " two\nlines "}],
    [
        {
            "role": "user",
            "content": [{"type": "text", "text": "one"}, {"type": "image"}, {"type": "text", "text": "two"}],
        },
        {"role": "assistant", "content": "done", **_NEWER},
        {"role": "user", "content": "日本語"},
    ],
)
if _NEWER:
    CHATS = (*CHATS, [{"role": "user", "content": None}])


@dataclass(frozen=True)
class Form:
    """How a checkpoint carries its tokenizer."""

    vocabulary: str = "bytes"
    """bytes (GPT-2's words), llama3 (byte-level with Llama 3's words), metaspace (SentencePiece BPE), unigram."""
    cls: str | None = "PreTrainedTokenizerFast"
    """`tokenizer_class` of tokenizer_config.json; None: absent."""
    ends: str = "none"
    """The post-processor of tokenizer.json: none, empty, bos, eos, both, sequence (after a ByteLevel), bytes."""
    add_bos: bool | None = None
    """`add_bos_token` of tokenizer_config.json; None: absent."""
    add_eos: bool | None = None
    named: str = "text"
    """How special tokens are named: text, typed (dicts with their __type), decoder (text, and added_tokens_decoder),
    map (special_tokens_map.json, as dicts), ends (only BOS and EOS)."""
    template: str = "config"
    """Where the chat template is: config, list, dict, no-default, jinja, both (the file counts), folder (of further
    ones), json (which nobody reads), none."""
    text: str = "plain"
    """Which of TEMPLATES."""
    model: str = "llama"
    """`model_type` of config.json."""
    files: str = "json"
    """json (tokenizer.json), merges (vocab.json and merges.txt), added (tokenizer.json and added_tokens.json)."""
    extra: str = "none"
    """Model-specific tokens: none, dict (extra_special_tokens), key (image_token), list (additional_special_tokens)."""

    @property
    def name(self) -> str:
        values = {**vars(self)}
        first = [values.pop("vocabulary"), str(values.pop("cls")), values.pop("ends")]
        return "-".join([*first, *(f"{key}={value}" for key, value in values.items() if value != getattr(Form, key))])


CLASSES = (
    None,
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
    "LlamaTokenizer",
    "LlamaTokenizerFast",
    "Qwen2Tokenizer",
    "Qwen2TokenizerFast",
    "GemmaTokenizer",
    "GemmaTokenizerFast",
    "NoSuchTokenizer",
)
ENDS = ("none", "empty", "bos", "eos", "both", "sequence", "bytes")
MODELS = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "olmo2", "phi3", "smollm3")
_VARIED: dict[str, tuple[Any, ...]] = {
    "named": ("text", "typed", "decoder", "map", "ends"),
    "template": ("config", "list", "jinja", "both", "folder", "dict", "no-default", "json", "none"),
    "text": tuple(TEMPLATES),
    "model": MODELS,
    "extra": ("none", "dict", "key", "list"),
}


def forms() -> Iterator[Form]:
    """Every vocabulary with every class and post-processor, each with other values of the rest; then each value of the
    rest by itself."""
    flags = ((None, None), (True, None), (False, None), (True, True), (False, True))
    for number, (vocabulary, cls, ends) in enumerate(
        product(("bytes", "llama3", "metaspace", "unigram"), CLASSES, ENDS)
    ):
        bos, eos = flags[number % len(flags)]
        varied = {
            key: values[(number // (place + 1)) % len(values)] for place, (key, values) in enumerate(_VARIED.items())
        }
        yield Form(vocabulary, cls, ends, bos, eos, **varied)
    for key, values in _VARIED.items():
        yield from (replace(Form(ends="bos"), **{key: value}) for value in values if value != getattr(Form, key))
    yield Form(ends="bos")
    for cls, bos, named in product(("Qwen2Tokenizer", None), (None, True, False), ("text", "map")):
        yield Form("bytes", cls, "none", bos, model="qwen2", files="merges", named=named)
    yield Form(files="added")


def write(folder: Path, form: Form) -> Path:
    """Writes the files of a form into the folder, with a config.json that names its model."""
    folder.mkdir(parents=True, exist_ok=True)
    backend = _backend(form)
    state = json.loads(backend.to_str())
    if form.files == "merges":
        _dump(folder / "vocab.json", state["model"]["vocab"])
        (folder / "merges.txt").write_text("".join(" ".join(merge) + "\n" for merge in state["model"]["merges"]))
    else:
        _dump(folder / "tokenizer.json", state)
    if form.files == "added":
        _dump(folder / "added_tokens.json", {"<late>": backend.get_vocab_size()})
    _dump(folder / "config.json", {"model_type": form.model, "eos_token_id": [2, 4]})
    settings: dict[str, Any] = {"model_max_length": 4096, "clean_up_tokenization_spaces": False}
    if form.cls is not None:
        settings["tokenizer_class"] = form.cls
    settings |= {key: value for key, value in _flags(form).items() if value is not None}
    settings |= _named(folder, form, backend) | _extra(form) | _templates(folder, form)
    _dump(folder / "tokenizer_config.json", settings)
    return folder


def differences(folder: Path, package: Path) -> list[str]:
    """Where edgesw's ids, prompts or errors for a checkpoint folder are not transformers', or transformers reads the
    package's files otherwise than the folder. The files are written into `package`."""
    from transformers import AutoTokenizer, logging

    logging.set_verbosity(logging.CRITICAL + 1)
    try:
        theirs: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        theirs = error
    try:
        files = tokenizer_from_folder(folder)
    except CheckpointError as error:
        return [] if isinstance(theirs, Exception) else [f"edgesw refuses what transformers reads: {error}"]
    if isinstance(theirs, Exception):
        return [f"edgesw reads what transformers refuses: {theirs}"]
    package.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (package / name).write_bytes(content)
    again = AutoTokenizer.from_pretrained(str(package), local_files_only=True)
    ours, found = Ours.from_folder(package), []
    for text in TEXTS:
        for add in (True, False):
            expected = theirs(text, add_special_tokens=add)["input_ids"]
            for who, ids in (
                ("edgesw", ours.encode(text, add_special_tokens=add)),
                ("the package in transformers", again(text, add_special_tokens=add)["input_ids"]),
            ):
                if ids != expected:
                    found.append(f"{who} on {text!r} ({add}): {ids}, not {expected}")
    around = [*ours.prefix_ids, *theirs("brass", add_special_tokens=False)["input_ids"], *ours.suffix_ids]
    if around != theirs("brass")["input_ids"]:
        found.append(f"prefix and suffix: {around}")
    for chat, prompt in product(CHATS, (True, False)):
        expected, made, reread = (_prompt(each, chat, prompt) for each in (theirs, ours, again))
        if made != expected or reread != expected:
            found.append(f"prompt: {made!r} and {reread!r}, not {expected!r}")
    return found


def _prompt(tokenizer: Any, chat: list[dict[str, Any]], prompt: bool) -> str | None:
    """The prompt of a chat; None where it is refused."""
    try:
        if isinstance(tokenizer, Ours):
            return tokenizer.chat_prompt(chat, add_generation_prompt=prompt)
        made = tokenizer.apply_chat_template(copy.deepcopy(chat), tokenize=False, add_generation_prompt=prompt)
        return str(made)
    except UsageError:
        return None
    except Exception:
        if isinstance(tokenizer, Ours):
            raise
        return None


def _backend(form: Form) -> Tokenizer:
    backend = Tokenizer.from_str(_trained(form.vocabulary))
    ids = {token: backend.token_to_id(token) for token in SPECIAL}

    def around(bos: bool, eos: bool) -> processors.PostProcessor:
        before, after = (f"{BOS}:0 " if bos else ""), (f" {EOS}:0" if eos else "")
        used = [(token, ids[token]) for token, wanted in ((BOS, bos), (EOS, eos)) if wanted]
        single = f"{before}$A:0{after}"
        return processors.TemplateProcessing(single=single, pair=f"{single} $B:1", special_tokens=used)

    match form.ends:
        case "empty":
            backend.post_processor = around(False, False)
        case "bos" | "eos" | "both":
            backend.post_processor = around(form.ends != "eos", form.ends != "bos")
        case "sequence":
            backend.post_processor = processors.Sequence(
                [processors.ByteLevel(trim_offsets=False), around(True, False)]
            )
        case "bytes":
            backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return backend


@lru_cache
def _trained(vocabulary: str) -> str:
    """A tokenizer without post-processor, as JSON: SPECIAL are its first tokens."""
    if vocabulary in ("bytes", "llama3"):
        backend = Tokenizer(models.BPE())
        words = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=vocabulary == "bytes")
        backend.pre_tokenizer = level if vocabulary == "bytes" else pre_tokenizers.Sequence([words, level])
        backend.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer: Any = trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=alphabet, special_tokens=list(SPECIAL), show_progress=False
        )
        backend.train_from_iterator(_TRAINING, trainer)
    else:
        backend = _sentencepiece() if vocabulary == "metaspace" else _unigram()
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    backend.add_tokens([AddedToken("<think>", normalized=False), AddedToken("  \n", lstrip=True, normalized=False)])
    return backend.to_str()


def _sentencepiece() -> Tokenizer:
    """As Llama 2's: every byte has a token, a space is put before the text, spaces are characters of their own."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(_TRAINING, trainers.BpeTrainer(vocab_size=250, show_progress=False))
    state = json.loads(trained.to_str())["model"]
    pieces = sorted(state["vocab"], key=state["vocab"].get)
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    backend = Tokenizer(
        models.BPE(
            vocab={token: number for number, token in enumerate(tokens)},
            merges=[tuple(merge) for merge in state["merges"]],
            unk_token=UNK,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return backend


def _unigram() -> Tokenizer:
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, unk_token=UNK, special_tokens=list(SPECIAL), show_progress=False)
    backend.train_from_iterator(_TRAINING, trainer)
    return backend


def _flags(form: Form) -> dict[str, bool | None]:
    return {"add_bos_token": form.add_bos, "add_eos_token": form.add_eos}


def _named(folder: Path, form: Form, backend: Tokenizer) -> dict[str, Any]:
    """The special tokens in tokenizer_config.json; `map` writes special_tokens_map.json instead."""
    names = {"bos_token": BOS, "eos_token": EOS, "unk_token": UNK, "pad_token": PAD}
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    match form.named:
        case "typed":
            return {name: {"__type": "AddedToken", "content": token, **plain} for name, token in names.items()}
        case "map":
            _dump(folder / "special_tokens_map.json", {name: {"content": t, **plain} for name, t in names.items()})
            return {}
        case "ends":
            return {name: names[name] for name in ("bos_token", "eos_token")}
        case "decoder":
            added = {
                str(number): {"content": token.content, **plain, "lstrip": token.lstrip, "special": token.special}
                for number, token in backend.get_added_tokens_decoder().items()
            }
            return {**names, "added_tokens_decoder": added}
    return dict(names)


def _extra(form: Form) -> dict[str, Any]:
    match form.extra:
        case "dict":
            return {"extra_special_tokens": {"image_token": IMAGE, "turn": TURN}}
        case "key":
            return {"image_token": IMAGE}
        case "list":
            return {"additional_special_tokens": [TURN, IMAGE, "<new>"]}
    return {}


def _templates(folder: Path, form: Form) -> dict[str, Any]:
    """The template's entry in tokenizer_config.json, and its files."""
    template, other = TEMPLATES[form.text], "another{{ messages[0].content }}"
    if form.template in ("jinja", "both", "folder"):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    match form.template:
        case "config":
            return {"chat_template": template}
        case "list" | "no-default":
            name = "default" if form.template == "list" else "rag"
            pairs = (("tool_use", other), (name, template))
            return {"chat_template": [{"name": each, "template": text} for each, text in pairs]}
        case "dict":
            return {"chat_template": {"default": template, "tool_use": other}}
        case "both":
            return {"chat_template": other}
        case "folder":
            (folder / "additional_chat_templates").mkdir(exist_ok=True)
            (folder / "additional_chat_templates" / "tool_use.jinja").write_text(other)
        case "json":
            _dump(folder / "chat_template.json", {"chat_template": template})
    return {}


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
