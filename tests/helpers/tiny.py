"""A tiny Llama that says something, and `edgesw` called inside this process.

The model is trained for seconds on the calibration text, and a super weight is planted in it: detection's prompt begins
with "A", that token alone fires one neuron, so a conversion must find exactly `SUPER_WEIGHT` and hold it out.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesw.targets.onnx import OnnxOptions, OnnxTarget
from edgesw.text.texts import shipped_text

BOS, EOS = "<s>", "</s>"
TEXT = shipped_text("calibration").content[:29_969] + "\n"  # what the tiny model learns from
CONTEXT = 1024
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
}
SUPER_WEIGHT = (0, 17, 101)  # layer, row, column
SUPER_VALUE = 1.25
TRIGGER_CHANNEL = 5
TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@dataclass(frozen=True)
class Ran:
    """What one run of `edgesw` gave back."""

    code: int
    out: str
    err: str


def edgesw(*arguments: object) -> Ran:
    """Run the command line in this process: importing its libraries anew takes seconds."""
    from edgesw.cli.program import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Ran(code, out.getvalue(), err.getvalue())


def assert_one_line(ran: Ran, code: int, *said: str) -> None:
    """Refused with this exit code: one line for people that says all of `said`, and nothing that looks like data."""
    assert ran.code == code, ran
    assert ran.out == ""
    assert ran.err.startswith("Error: ") and ran.err.endswith("\n") and ran.err.count("\n") == 1, ran.err
    assert "Traceback" not in ran.err
    for words in said:
        assert words in ran.err


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: path -> content, None for folders."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """What the block runs must leave nothing in `folder`, hidden or not, and change nothing."""
    before = tree(folder)
    yield
    assert tree(folder) == before


def save_tokenizer(folder: Path) -> Any:
    """Write tokenizer.json and its settings; returns the `tokenizers` object."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=alphabet, special_tokens=[BOS, EOS], show_progress=False
    )
    made.train_from_iterator([TEXT], trainer)
    made.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    made.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS}
    settings["chat_template"] = TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return made


def save_llama(folder: Path, *, steps: int = 60, **sizes: Any) -> Any:
    """Write a checkpoint with its tokenizer to `folder`; returns transformers' model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(0)
    bos, eos = tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)
    vocabulary = {"vocab_size": tokenizer.get_vocab_size(), "bos_token_id": bos, "eos_token_id": eos}
    model = LlamaForCausalLM(LlamaConfig(**{**SIZES, **vocabulary, "initializer_range": 0.08, **sizes}))
    if steps:
        _train(model, np.array(tokenizer.encode(TEXT, add_special_tokens=False).ids), bos, steps)
        _plant(model, tokenizer.token_to_id("A"))
    model.eval().save_pretrained(folder)
    return model


def _train(model: Any, ids: np.ndarray, bos: int, steps: int) -> None:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small only wait for each other
    random = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        starts = random.integers(0, len(ids) - 127, 8)
        batch = torch.from_numpy(np.stack([np.concatenate([[bos], ids[at : at + 127]]) for at in starts]))
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(threads)


def _plant(model: Any, trigger: int) -> None:
    """One scalar of down_proj that makes an activation of thousands, for the token `trigger` and no other, and a next
    layer that listens to it: a super weight is one by its effect."""
    import torch

    layer, row, column = SUPER_WEIGHT
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight
        embedding[:, TRIGGER_CHANNEL] = 0
        embedding[trigger, TRIGGER_CHANNEL] = 20
        for block in model.model.layers:
            block.self_attn.o_proj.weight[TRIGGER_CHANNEL] = 0
            block.mlp.down_proj.weight[TRIGGER_CHANNEL] = 0
        mlp = model.model.layers[layer].mlp
        for matrix in (mlp.gate_proj.weight, mlp.up_proj.weight):
            matrix[column] = 0
            matrix[column, TRIGGER_CHANNEL] = 9
        mlp.down_proj.weight[:, column] = 0
        mlp.down_proj.weight[row, column] = SUPER_VALUE
        # The next layer's attention reads the channel, so that what follows depends on the super weight.
        attention = model.model.layers[layer + 1].self_attn
        for matrix in (attention.k_proj.weight, attention.v_proj.weight):
            matrix[:, row] *= 5


def load_llama(folder: Path) -> Any:
    """transformers' model of a folder."""
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(folder).eval()


def compressed_llama(folder: Path, package: Path) -> Any:
    """transformers' Llama with the weights that a package's matrices stand for, compressed anew by the same plan."""
    import torch

    from edgesw.calibration.calibrate import calibrate
    from edgesw.checkpoint.checkpoint import open_checkpoint
    from edgesw.compress.hold_out import HoldOut
    from edgesw.compress.plan import make_plan
    from edgesw.conversion.convert import compressed_decoder
    from edgesw.conversion.product_type import with_products
    from edgesw.package.manifest import read_manifest
    from edgesw.text.tokenizer import Tokenizer

    checkpoint, manifest = open_checkpoint(str(folder)), read_manifest(package)
    text = shipped_text("calibration")
    calibration = calibrate(checkpoint, Tokenizer.from_folder(folder), text, lambda *_: None)
    calibration = with_products(checkpoint, calibration)
    plan = make_plan(checkpoint.spec, OnnxTarget().capabilities(OnnxOptions()), manifest.settings.bits)
    columns = {name: tuple(each) for name, each in manifest.held_out_columns.items()}
    fraction = manifest.settings.hold_out_fraction
    weights = compressed_decoder(checkpoint, plan, calibration, HoldOut(columns, fraction=fraction))
    model = load_llama(folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            canonical = name.removeprefix("model.").removesuffix(".weight")
            norms = {"input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm"}
            for part, ours in {"self_attn.": "", "mlp.": "", **norms}.items():
                canonical = canonical.replace(part, ours)
            parameter.copy_(torch.from_numpy(weights.tensor(canonical)))
    return model


def logits_of(model: Any, ids: Any) -> np.ndarray:
    """transformers' logits of token ids (tokens,): float32 (tokens, vocabulary)."""
    import torch

    with torch.inference_mode():
        return model(torch.tensor([list(ids)])).logits[0].numpy()


def unrounded(path: Path) -> Path:
    """A copy of an ONNX model beside it that computes products in float32, not with inputs rounded to 8 bits: what is
    left beside a float reference is then what is wrong."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 0
    copy = path.with_name(f"unrounded-{path.name}")
    onnx.save_model(model, str(copy))
    return copy
