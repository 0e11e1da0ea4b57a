"""What zeroing scalars of `down_proj` does on a text: all sets of scalars in one streamed pass over its windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from edgesw.decoder.decoder import decoder_layer
from edgesw.decoder.names import TensorName
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import LAYER_MATRICES, LAYER_NORMS, DecoderSpec
from edgesw.decoder.weights import CachedWeights
from edgesw.outliers.results import Change
from edgesw.recipes.coordinates import Coordinates
from edgesw.runtime.products import product_dtype
from edgesw.runtime.torch import TorchOps

Removal = frozenset[Coordinates]
NOTHING: Removal = frozenset()

# What runs through a layer or the head at once. Intermediate values are of this many tokens, whatever the text.
LAYER_TOKENS, HEAD_TOKENS, HEAD_ROWS = 1024, 256, 8192
# The tokens on which products of another type are tried first, and the divergence up to which they are taken, in nats.
TRIED, MOST_ROUGH = 64, 0.005
# A loss beyond this many nats counts as this: its exponential must be a number.
MOST_NATS = 700.0


@dataclass(frozen=True)
class Measured:
    """What a text shows of a float model and of its variants."""

    known: float
    """KL divergence in nats of the float model's predictions from their own average over the text: what it knows from
    the context."""
    perplexity: float
    """The float model's."""
    tokens: int
    """How many were predicted."""
    changes: Mapping[Removal, Change]


class _Branching(TorchOps):
    """TorchOps on some windows of one variant, which `down_proj` turns into those of the variants that branch off it.

    A layer's tensors are read once, for all variants and windows. The residual stream is float32, whatever the dtype.
    """

    def __init__(self, spec: DecoderSpec, weights: Weights, ids: np.ndarray, dtype: torch.dtype) -> None:
        super().__init__(spec, weights, ids, dtype=dtype)
        self._stored, self._matrices = weights, dict[str, torch.Tensor]()
        self.branches: Sequence[Removal] = (NOTHING,)

    def begin(self, layer: int) -> None:
        """Drops the tensors of the layer before. Norms and biases of this one are kept, as are its matrices."""
        self._matrices.clear()
        kinds = (*LAYER_NORMS, *(f"{kind}.bias" for kind in LAYER_MATRICES))
        self.weights = CachedWeights(self._stored, {str(TensorName(layer, kind)) for kind in kinds})

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        if name not in self._matrices:
            self._matrices[name] = self._tensor(name)
        weight, bias = self._matrices[name], self.bias(name)
        y = F.linear(x.to(self.dtype), weight, bias)  # a stream that no norm precedes is float32
        if not name.endswith("down_proj"):
            return y
        return torch.cat([self._without(x, weight, y, bias, here) for here in self.branches])

    def _without(
        self, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor, bias: torch.Tensor | None, here: Removal
    ) -> torch.Tensor:
        """The output without these scalars of this matrix: only their rows differ."""
        if not here:
            return y
        y = y.clone()
        for row in {row for _, row, _ in here}:
            values = weight[row].to(torch.float32, copy=True)
            values[[column for _, own, column in here if own == row]] = 0
            y[..., row] = x.float() @ values + (0 if bias is None else bias[row])
        return y

    @property
    def head_slices(self) -> list[range]:
        """The rows of the head, HEAD_ROWS at a time."""
        count = self.spec.vocab_size
        return [range(start, min(start + HEAD_ROWS, count)) for start in range(0, count, HEAD_ROWS)]

    def head(self, rows: range) -> torch.Tensor:
        """A slice of the head."""
        return torch.from_numpy(self._stored.rows("lm_head", np.arange(rows.start, rows.stop))).to(self.dtype)

    def logits(self, hidden: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        """Float32 logits of a slice of the head: (positions, rows)."""
        logits = F.linear(hidden, head).float()
        return logits if self.spec.logit_softcap is None else self.softcap(logits, self.spec.logit_softcap)

    def add(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a if len(a) == len(b) else a.repeat(len(b) // len(a), 1, 1)) + b


def measure_text(
    spec: DecoderSpec,
    weights: Weights,
    ids: np.ndarray,
    skipped: int,
    removals: Sequence[Removal],
    dtype: torch.dtype | None = None,
    progress: Callable[[int], None] | None = None,
) -> Measured:
    """What changes when each of these sets of scalars is zeroed, on windows of a text: `ids` int64 (windows, tokens).

    The first `skipped` tokens of a window are not the text's own: what follows the others is predicted, and counted.
    A variant runs with the float model up to its first layer that differs. In memory are the residual streams of all
    variants, the tensors of one layer, and a slice of the head.
    """
    ops = _Branching(spec, weights, ids, dtype or product_dtype())
    streams = _streams(ops, removals, progress)
    first = max(skipped - 1, 0)
    return _compare(ops, {removal: stream[:, first:-1] for removal, stream in streams.items()}, ids[:, first + 1 :])


def exact_enough(spec: DecoderSpec, weights: Weights, ids: np.ndarray, dtype: torch.dtype) -> torch.dtype:
    """`dtype`, or float32 where the float model predicts otherwise in `dtype` on the first tokens of the windows: where
    one massive value cancels another, the rounding of both is all that is left."""
    if dtype == torch.float32:
        return dtype
    exact, rough = (
        _log_probabilities(_Branching(spec, weights, ids[:1, :TRIED], each)) for each in (torch.float32, dtype)
    )
    return dtype if float((exact.exp() * (exact - rough)).sum(-1).mean()) <= MOST_ROUGH else torch.float32


@torch.inference_mode()
def _log_probabilities(ops: _Branching) -> torch.Tensor:
    """What the float model predicts after each token: (tokens, vocabulary)."""
    hidden = ops.norm(_streams(ops, ())[NOTHING], "norm").flatten(0, 1)
    return torch.cat([ops.logits(hidden, ops.head(rows)) for rows in ops.head_slices], -1).double().log_softmax(-1)


def _streams(
    ops: _Branching, removals: Sequence[Removal], progress: Callable[[int], None] | None = None
) -> dict[Removal, torch.Tensor]:
    """The residual stream after the last layer, of the float model and of each variant."""
    streams = {NOTHING: ops.embedding("embed_tokens").float()}
    for layer in range(ops.spec.layers):
        ops.begin(layer)
        streams = _after(ops, layer, streams, removals)
        if progress:
            progress(layer)
    return streams


@torch.inference_mode()
def _after(
    ops: _Branching, layer: int, streams: dict[Removal, torch.Tensor], removals: Sequence[Removal]
) -> dict[Removal, torch.Tensor]:
    """The streams after a layer: each variant by those of its scalars that are in the layers up to this one."""
    after: dict[Removal, torch.Tensor] = {}
    for before in list(streams):
        x = streams.pop(before)
        reached = [frozenset(at for at in removal if at[0] <= layer) for removal in removals]
        branches = [removal for removal in reached if {at for at in removal if at[0] < layer} == before]
        branches = list(dict.fromkeys(branches if before else [NOTHING, *branches]))
        ops.branches = [removal - before for removal in branches]
        new = torch.empty((len(branches), *x.shape))
        each = max(1, LAYER_TOKENS // x.shape[1])
        for start in range(0, len(x), each):
            part = x[start : start + each]
            new[:, start : start + each] = decoder_layer(ops, layer, part).unflatten(0, (len(branches), len(part)))
        after.update(zip(branches, new, strict=True))
    return after


class _Tally:
    """What the slices of the head have shown so far of one variant, at each position."""

    def __init__(self, positions: int) -> None:
        self.total = torch.full((positions,), -torch.inf)  # logsumexp of the logits
        self.apart = torch.zeros(positions)  # sum of exp(a) (a - b)
        self.largest = torch.full((positions,), -torch.inf)
        self.top = torch.zeros(positions, dtype=torch.int64)  # the token of the largest logit
        self.target = torch.zeros(positions)  # the logit of the token that comes next

    def read(self, at: slice, first: int, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Takes in the logits (positions, tokens from `first` on) of the positions `at`."""
        largest, top = logits.max(-1)
        self.total[at] = torch.logaddexp(self.total[at], (logits - largest[:, None]).exp_().sum(-1).log() + largest)
        larger = largest > self.largest[at]
        self.top[at] = torch.where(larger, top + first, self.top[at])
        self.largest[at] = torch.where(larger, largest, self.largest[at])
        own = targets[at] - first
        inside = (own >= 0) & (own < logits.shape[1])
        found = logits.gather(1, own.clamp(0, logits.shape[1] - 1)[:, None])[:, 0]
        self.target[at] = torch.where(inside, found, self.target[at])

    @property
    def loss(self) -> float:
        """The mean of -log of what the tokens that come next were given, in nats."""
        return float((self.total - self.target).double().mean())


@torch.inference_mode()
def _compare(ops: _Branching, streams: dict[Removal, torch.Tensor], ids: np.ndarray) -> Measured:
    """The changes at all positions of the streams, after which the tokens `ids` come.

    The head is read in slices, twice: float log probabilities need the sum of a first reading. With these, a, and the
    logits b of a variant: KL = sum(exp(a) (a - b)) + logsumexp(b), each a sum over the slices.
    """
    spec, targets = ops.spec, torch.from_numpy(np.ascontiguousarray(ids)).flatten()
    hidden = {removal: ops.norm(stream, "norm").flatten(0, 1) for removal, stream in streams.items()}
    blocks = [slice(start, start + HEAD_TOKENS) for start in range(0, len(targets), HEAD_TOKENS)]
    whole, tallies = hidden.pop(NOTHING), {removal: _Tally(len(targets)) for removal in hidden}
    exact = _Tally(len(targets))
    for rows in ops.head_slices:
        head = ops.head(rows)
        for at in blocks:
            exact.read(at, rows.start, ops.logits(whole[at], head), targets)
    average, entropy = torch.zeros(spec.vocab_size, dtype=torch.float64), 0.0
    for rows in ops.head_slices:
        head = ops.head(rows)
        for at in blocks:
            a = ops.logits(whole[at], head) - exact.total[at, None]
            p = a.exp()
            average[rows.start : rows.stop] += p.sum(0)
            known = (p * a).sum(-1)
            entropy -= float(known.sum())
            for removal, tally in tallies.items():
                b = ops.logits(hidden[removal][at], head)
                tally.read(at, rows.start, b, targets)
                tally.apart[at] += known - torch.linalg.vecdot(p, b)
    average /= len(targets)
    of_average = -float((average * average.clamp(min=1e-300).log()).sum())
    changes = {
        removal: Change(
            perplexity=math.exp(min(tally.loss - exact.loss, MOST_NATS)),
            kl=float((tally.apart + tally.total).clamp(min=0).double().mean()),
            top1=float((tally.top == exact.top).double().mean()),
        )
        for removal, tally in tallies.items()
    }
    return Measured(of_average - entropy / len(targets), math.exp(min(exact.loss, MOST_NATS)), len(targets), changes)
