"""Layers compressed one after the other, compared with transformers run on the compressed layers before."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from edgesw.calibration.calibrate import input_mean_squares
from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.compensate import Hessian
from edgesw.compress.compensated import StreamedDecoder, input_hessian
from edgesw.compress.compression import compress_matrix
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.matrix_store import MatrixStore, Policy
from edgesw.compress.plan import make_plan
from edgesw.decoder.ops import Weights
from edgesw.formats.coreml_layout import CoreMLLayout
from edgesw.runtime.streams import Stream
from edgesw.runtime.torch import FloatLogits
from edgesw.targets.coreml import CoreMLTarget
from edgesw.text.texts import shipped_text, windows
from edgesw.text.tokenizer import Tokenizer


def decoder(folder: Path, **options: Any) -> StreamedDecoder:
    """The tiny model at 2 bits, where the errors of earlier layers show in later ones."""
    checkpoint = open_checkpoint(str(folder))
    plan = make_plan(checkpoint.spec, CoreMLTarget().capabilities(CoreMLLayout()), 2)
    return StreamedDecoder(checkpoint.spec, checkpoint, plan, token_ids(folder), **options)


def token_ids(folder: Path) -> np.ndarray:
    return windows(shipped_text("calibration"), Tokenizer.from_folder(folder), 4, 128)


def hessian_in_the_second_layer(folder: Path, first: StreamedDecoder) -> Hessian:
    """The Hessian of what transformers feeds to q_proj of layer 1, with layer 0 from `first` and in float."""
    model = LlamaForCausalLM.from_pretrained(folder)
    seen: list[np.ndarray] = []
    model.model.layers[1].self_attn.q_proj.register_forward_hook(
        lambda module, args, y: seen.append(args[0].flatten(0, 1).double().numpy())
    )
    with torch.inference_mode():
        model(torch.from_numpy(token_ids(folder)))
        for kind in ("q", "k", "v", "o", "gate", "up", "down"):
            part = getattr(model.model.layers[0], "self_attn" if kind in "qkvo" else "mlp")
            weight = getattr(part, f"{kind}_proj").weight
            weight.copy_(torch.from_numpy(first.tensor(f"layers.0.{kind}_proj")))
        model(torch.from_numpy(token_ids(folder)))
    floating, x = seen
    own, shift = (each.T @ x / len(x) for each in (x, floating - x))
    return Hessian(own.astype(np.float32), shift.astype(np.float32), len(x))


def test_the_second_layer_is_fitted_to_what_the_first_one_makes_as_stored(tiny_llama: Path) -> None:
    """On the float model's inputs it would compensate errors that are not there, and not those that are."""
    ours, name = decoder(tiny_llama), "layers.1.q_proj"
    weights, scheme = open_checkpoint(str(tiny_llama)).tensor(name), ours.plan.scheme(name)
    hessian = hessian_in_the_second_layer(tiny_llama, ours)
    shares = []
    for taken in (hessian, Hessian(hessian.own, 0 * hessian.shift, hessian.tokens)):
        expected = compress_matrix(weights, scheme, hessian=taken)
        shares.append(float((expected.dense.codes == ours.matrix(name).dense.codes).mean()))
    assert shares[0] > 0.99
    assert shares[1] < 0.95, "what layer 0 lost makes no difference here, so this tests nothing"


def test_outputs_come_nearer_to_those_of_the_float_model(tiny_llama: Path) -> None:
    """The whole purpose: on the text, the outputs of the stored layers come closer to those of the float layers."""
    checkpoint = open_checkpoint(str(tiny_llama))
    ids = token_ids(tiny_llama)
    plain = CompressedDecoder(
        checkpoint, decoder(tiny_llama).plan, input_mean_squares(checkpoint.spec, checkpoint, ids)
    )
    exact, *others = (
        np.stack(list(FloatLogits(checkpoint.spec, weights, ids)))
        for weights in (checkpoint, plain, decoder(tiny_llama))
    )
    errors = [float(np.square(other - exact).mean()) for other in others]
    assert errors[1] < 0.7 * errors[0]


def test_no_more_than_one_layer_is_in_memory(tiny_llama: Path) -> None:
    """A model of 7 billion weights is converted on a laptop that could not hold its codes."""
    alive = []

    def count(name: str) -> None:
        alive.append(sum(type(thing) is CompressedMatrix for thing in gc.get_objects()) - before)

    gc.collect()
    before = sum(type(thing) is CompressedMatrix for thing in gc.get_objects())
    ours = decoder(tiny_llama, on_matrix=count)
    for name in open_checkpoint(str(tiny_llama)).spec.matrices():
        ours.matrix(name)
    assert len(alive) == 14, "seven matrices a layer, each compressed once"
    assert max(alive) == 6, "those of the same layer before it"


@pytest.mark.parametrize("name", ["layers.0.down_proj", "layers.1.up_proj"])
def test_a_matrix_is_the_same_whenever_it_is_asked_for(name: str, tiny_llama: Path) -> None:
    """Validation and a second target ask again, and in their own order."""
    ours = decoder(tiny_llama)
    first = ours.matrix(name).dense.codes
    ours.matrix("layers.1.down_proj")
    assert (ours.matrix(name).dense.codes == first).all()


def test_what_is_held_out_is_held_out_of_a_streamed_matrix_too(tiny_llama: Path) -> None:
    """A super weight that the compensated path forgot would be lost in the package."""
    checkpoint = open_checkpoint(str(tiny_llama))
    name = "layers.0.down_proj"
    ours = decoder(tiny_llama, hold_out=HoldOut({name: (3,), "layers.1.up_proj": (7,)}, ((0, 17, 101),)))
    matrix, weights = ours.matrix(name), checkpoint.tensor(name)
    each = matrix.held_out_scalars
    assert each is not None and (each.rows.tolist(), each.columns.tolist()) == ([17], [101])
    assert matrix.held_out_columns is not None and matrix.held_out_columns.columns.tolist() == [3]
    exact = matrix.dequantize()
    # They may compensate for the loss of earlier layers, so they are close to the originals, not equal to them.
    assert np.corrcoef(exact[:, 3], weights[:, 3])[0, 1] > 0.7
    assert exact[17, 101] == pytest.approx(float(weights[17, 101]), rel=0.2)
    assert np.abs(exact[:, 3] - matrix.held_out_columns.values[0]).max() < 1e-3, "not on the 2-bit grid"
    correction = ours.matrix("layers.1.up_proj").corrections().columns
    assert correction is not None and correction.columns.tolist() == [7]


class Counted:
    """Weights that count how often each tensor is read."""

    def __init__(self, weights: Weights) -> None:
        self._weights, self.reads = weights, Counter[str]()

    def tensor(self, name: str) -> np.ndarray:
        self.reads[name] += 1
        return self._weights.tensor(name)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self._weights.rows(name, rows)


def test_a_matrix_is_read_once_and_from_the_store_not_at_all(tiny_llama: Path, tmp_path: Path) -> None:
    """Reading is what a conversion of a large model waits for; a second target must not wait again."""
    checkpoint, folder = open_checkpoint(str(tiny_llama)), tmp_path / "store"
    folder.mkdir()
    plan, names = decoder(tiny_llama).plan, checkpoint.spec.matrices()
    made, announced = [], list[str]()
    for _ in range(2):
        weights = Counted(checkpoint)
        store = MatrixStore(folder, Policy.KEEP)
        ours = StreamedDecoder(
            checkpoint.spec, weights, plan, token_ids(tiny_llama), store=store, on_matrix=announced.append
        )
        made.append([ours.matrix(name).dense.codes for name in names])
        reads = [weights.reads[name] for name in names]
        assert reads == [1 - len(made) // 2] * len(names)
    assert all(np.array_equal(one, other) for one, other in zip(*made, strict=True))
    assert announced == 2 * names


def test_a_matrix_that_the_store_has_lost_is_compressed_again(tiny_llama: Path, tmp_path: Path) -> None:
    """After a crash a file may be damaged: the others around it are good, and it must come out as before."""
    checkpoint, announced = open_checkpoint(str(tiny_llama)), list[str]()
    names, name = checkpoint.spec.matrices(), "layers.1.k_proj"
    store = MatrixStore(tmp_path, Policy.KEEP)
    before = decoder(tiny_llama, store=store)
    first = [before.matrix(each).dense.codes for each in names]
    (tmp_path / f"{name}.npz").write_bytes(b"PK not an archive")
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    ours = decoder(tiny_llama, store=store, on_matrix=announced.append)
    assert all(np.array_equal(ours.matrix(each).dense.codes, codes) for each, codes in zip(names, first, strict=True))
    changed = {path.name for path in tmp_path.iterdir() if path.stat().st_mtime_ns != kept[path.name]}
    assert changed == {f"{name}.npz"}
    assert sorted(announced) == sorted(names), "each once, or the progress bar runs past its end"


@pytest.mark.parametrize(("products", "off"), [(torch.float32, 1e-4), (torch.bfloat16, 6e-3)])
@pytest.mark.parametrize("columns", [1, 40, 515])
def test_moments_are_those_of_the_inputs(products: torch.dtype, off: float, columns: int) -> None:
    """Both streams differ by a thousandth here, as at 8 bits: were each rounded to bfloat16 by itself, all that is left
    of their difference would be the rounding."""
    draw = np.random.default_rng(columns)
    x = draw.standard_normal((6, 50, columns)) * np.exp(draw.standard_normal(columns))
    floating = x + 1e-3 * x * draw.standard_normal(x.shape)
    halves = [np.concatenate([floating[at : at + 2], x[at : at + 2]]).astype(np.float32) for at in (0, 2, 4)]
    found = input_hessian(Stream((4, 4, 4), lambda batch: torch.from_numpy(halves[batch])), products)
    flat, difference = x.reshape(-1, columns), (floating - x).reshape(-1, columns)
    assert found.tokens == len(flat)
    for ours, expected in ((found.own, flat.T @ flat / len(flat)), (found.shift, difference.T @ flat / len(flat))):
        assert np.linalg.norm(ours - expected) <= off * np.linalg.norm(expected)
    assert np.array_equal(found.own, found.own.T)


def test_bfloat16_products_lose_nothing_that_compensation_gains(tiny_llama: Path) -> None:
    """Or the packages of a processor that is quick at them would be worse than those of another."""
    model = LlamaForCausalLM.from_pretrained(tiny_llama)
    ids = torch.from_numpy(token_ids(tiny_llama))
    off = {}
    with torch.inference_mode():
        exact = model(ids).logits.log_softmax(-1)
        plain = CompressedDecoder(open_checkpoint(str(tiny_llama)), decoder(tiny_llama).plan)
        made = {dtype: decoder(tiny_llama, products=dtype) for dtype in (torch.float32, torch.bfloat16)}
        for key, ours in {None: plain, **made}.items():
            spec = open_checkpoint(str(tiny_llama)).spec
            logits = torch.from_numpy(np.stack(list(FloatLogits(spec, ours, ids.numpy())))).log_softmax(-1)
            off[key] = float((exact.exp() * (exact - logits)).sum(-1).mean())
    assert off[torch.float32] < off[None] and off[torch.bfloat16] < 1.05 * off[torch.float32], off


def test_matrices_with_too_many_columns_are_fitted_to_mean_squares(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their Hessians would take more memory than all the rest of a conversion. They are as without compensation, and
    the others are compensated all the same."""
    checkpoint = open_checkpoint(str(tiny_llama))
    squares = input_mean_squares(checkpoint.spec, checkpoint, token_ids(tiny_llama))
    monkeypatch.setattr("edgesw.compress.compensated.MOST_COLUMNS", checkpoint.spec.hidden_size)
    ours = decoder(tiny_llama, importance=squares)
    plain = CompressedDecoder(checkpoint, ours.plan, squares)
    for name in checkpoint.spec.matrices():
        same = np.array_equal(ours.matrix(name).dense.codes, plain.matrix(name).dense.codes)
        assert same == name.endswith("down_proj"), name
