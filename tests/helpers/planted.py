"""Random decoders of every family with super weights planted in them, for tests and benchmarks.

A planted super weight is one scalar of `down_proj` whose neuron fires for one token alone, the trigger, and which
writes a value thousands of times the ordinary into one channel of the residual stream. Later layers read that channel
through attention, so that the model says something else without it: `plant` checks that with transformers itself, and
makes the later layers listen more until it is so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tiny_families import SIZES, VARIANTS

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.outliers.detect import detect
from edgesw.outliers.results import SuperOutliers

# What replaces the switches that `tiny_families` sets for very short decoders and texts.
OVERRIDES: dict[str, dict[str, Any]] = {
    "olmo": {"clip_qkv": 8.0},
    "gemma2": {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "gemma3": {"layer_types": None},
}
FAMILIES = (
    "llama", "llama-3", "llama-biased", "mistral", "smollm3", "qwen2", "qwen3", "phi3", "olmo", "olmo2",
    "gemma2", "gemma3",
)  # fmt: skip
KINDS = ("none", "harmless", "one", "row", "fan", "layers", "cancel")
"""No super weight; a scalar that makes a super activation which nothing reads; one super weight; several columns that
feed one row; one column that feeds several rows; two layers; one, and a later layer that takes its super activation
out again. All stand among decoys: large scalars, large rows, spikes that come to nothing."""

Coordinates = tuple[int, int, int]
CARRIES = 0.2
"""KL divergence, in nats, that each planted scalar must bring: alone, or on top of the others as half of what all do. A
model that the others have destroyed would say something else again after any further change."""
HARMLESS = 0.01
"""KL divergence, in nats, below which a scalar is none. What is between the two is not planted."""
MASSIVE_RATIO = 1500.0
"""How many times the median of the residual stream a planted super activation is, at the least."""


@dataclass(frozen=True)
class Planted:
    """A checkpoint in `folder` and what detection must find in it on the prompt `ids`."""

    family: str
    kind: str
    folder: Path
    ids: np.ndarray
    super_weights: frozenset[Coordinates]
    cancels_at: frozenset[Coordinates]
    divergence: float
    """KL divergence when all super weights are zeroed, by transformers; mean over the tokens after the trigger."""


@dataclass(frozen=True)
class Compared:
    """What detection made of a planting: super weights and cancelling scalars that it missed or made up."""

    missed: frozenset[Coordinates]
    false_alarms: frozenset[Coordinates]
    found: SuperOutliers


def compare(planted: Planted) -> Compared:
    """Detect in the planted checkpoint."""
    checkpoint = open_checkpoint(str(planted.folder))
    found = detect(checkpoint.spec, checkpoint, planted.ids)
    super_weights = {weight.coordinates for weight in found.super_weights}
    cancels_at = set(found.cancels_at)
    return Compared(
        (planted.super_weights - super_weights) | (planted.cancels_at - cancels_at),
        frozenset((super_weights - planted.super_weights) | (cancels_at - planted.cancels_at)),
        found,
    )


class Unlucky(Exception):
    """A random decoder in which the planted scalars do not carry the model: not what is to be found."""


def plant(folder: Path, family: str, kind: str, seed: int) -> Planted:
    """Write a checkpoint to `folder`. Its sizes, prompt and coordinates depend on `seed`: same seed, same bytes."""
    transformers.utils.logging.disable_progress_bar()
    for attempt in range(60):
        try:
            garden = _Garden(family, np.random.default_rng([seed, FAMILIES.index(family), KINDS.index(kind), attempt]))
            divergence = garden.plant(kind)
        except Unlucky:
            continue
        garden.model.save_pretrained(folder)
        return Planted(
            family, kind, folder, garden.ids, frozenset(garden.planted), frozenset(garden.cancelling), divergence
        )
    raise AssertionError(f"no planting of {kind} in {family} carries its model: seed {seed}")


@dataclass(frozen=True)
class _Look:
    """What each layer showed, (tokens, hidden) each: what its MLP read and wrote, and the residual stream after it."""

    read: list[torch.Tensor]
    written: list[torch.Tensor]
    stream: list[torch.Tensor]


@dataclass
class _Garden:
    family: str
    random: np.random.Generator
    planted: list[Coordinates] = field(default_factory=list)
    cancelling: list[Coordinates] = field(default_factory=list)

    def __post_init__(self) -> None:
        pick = self.random.choice
        self.layers, self.hidden = int(self.random.integers(4, 17)), int(pick([48, 64, 96, 128, 192, 256]))
        self.inner = int(self.hidden * self.random.uniform(1.5, 3))
        self.model = self._decoder()
        self.blocks = self.model.model.layers
        self.norm_after = hasattr(self.blocks[0], "post_feedforward_layernorm")
        tokens = int(self.random.integers(7, 13))
        self.ids = self.random.permutation(np.arange(3, SIZES["vocab_size"]))[:tokens]
        # Where the triggers stand, and the channel that each alone has.
        self.at = int(pick([0, 0, 0, 1, 2])), 3
        self.sign = int(pick([-1, 1]))
        self.free = self.random.permutation(self.hidden).tolist()  # channels without a part in anything yet
        self.neurons = [self.random.permutation(self.inner).tolist() for _ in range(self.layers)]
        self.trigger = self.free.pop(), self.free.pop()
        self.silent = self.free.pop()  # no token has it: what a norm that subtracts the mean leaves there is that mean

    def _decoder(self) -> Any:
        name, settings = VARIANTS[self.family]
        sizes = {
            "hidden_size": self.hidden, "intermediate_size": self.inner, "num_hidden_layers": self.layers,
            "initializer_range": self.hidden**-0.5, "max_position_embeddings": 64, "sliding_window": 16,
            "tie_word_embeddings": bool(self.random.integers(2)),
        }  # fmt: skip
        over = dict(OVERRIDES.get(self.family, {}))
        if "layer_types" in over:
            over["layer_types"] = [("full" if i % 3 == 2 else "sliding") + "_attention" for i in range(self.layers)]
        config = getattr(transformers, "Gemma3TextConfig" if name == "Gemma3" else f"{name}Config")
        torch.manual_seed(int(self.random.integers(1 << 30)))
        settings = {key: value for key, value in settings.items() if key != "sliding_window"}
        model = getattr(transformers, f"{name}ForCausalLM")(
            config(**{**SIZES, **settings, **sizes, **over}, attn_implementation="eager")
        )
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.3 * (torch.rand_like(parameter) - 0.5))
        return model.eval()

    @torch.no_grad()
    def plant(self, kind: str) -> float:
        self._set_trigger()
        self._decoys()
        lasts = self.layers // 8 + 1
        first = int(self.random.integers(0, max(1, self.layers - lasts - 2)))
        if kind == "none":
            return 0.0
        row = self.free.pop()
        if kind in ("one", "cancel", "harmless"):
            self._super_weights(first, [row], [1.0], columns=1)
        elif kind == "row":
            parts = self.random.dirichlet([6] * int(self.random.integers(2, 4)))
            self._super_weights(first, [row], sorted(np.maximum(parts, 0.15), reverse=True), columns=len(parts))
        elif kind == "fan":
            rows = [row, *(self.free.pop() for _ in range(int(self.random.integers(1, 3))))]
            self._super_weights(first, rows, sorted(self.random.uniform(0.3, 1, len(rows)), reverse=True), columns=1)
        elif kind == "layers":
            second = int(self.random.integers(first + 1, self.layers - lasts))
            self._super_weights(first, [row], [1.0], columns=1)
            if self.random.random() < 0.5:  # for the same token, into the same channel
                self._super_weights(second, [row], [1.0], columns=1)
            else:
                self._super_weights(second, [self.free.pop()], [1.0], columns=1, trigger=1)
        if kind == "harmless":
            return self._deafen(first)
        if kind == "cancel":
            self._cancel(int(self.random.integers(first + lasts + 1, self.layers)), row)
        return self._check()

    def _set_trigger(self) -> None:
        """A trigger's token alone has the trigger's channel, in every layer."""
        embedding = self.model.model.embed_tokens.weight
        size = float(embedding.norm(dim=1).mean())
        quiet = [*self.trigger, self.silent]
        embedding[:, quiet] = 0
        embedding[self.ids[list(self.at)], self.trigger] = 6 * size
        for block in self.blocks:
            for matrix in (block.self_attn.o_proj, block.mlp.down_proj):
                matrix.weight[quiet] = 0
                if matrix.bias is not None:
                    matrix.bias[quiet] = 0

    def _decoys(self) -> None:
        """What looks like a super weight in the weights, or in the activations, and is none."""
        look = self._look()
        for layer in range(self.layers):
            down = self.blocks[layer].mlp.down_proj.weight
            if self.random.random() < 0.3:  # a scalar as large as a super weight, in a neuron that hardly fires
                column = self.neurons[layer].pop()
                for matrix in self._gate_up(layer, column):
                    matrix *= 0.02
                for part in (self.blocks[layer].mlp.gate_proj, self.blocks[layer].mlp.up_proj) if self._biased else ():
                    part.bias[column] = 0
                down[self.free.pop(0), column] = self.random.uniform(2, 6) * self.random.choice([-1, 1])
            if self.random.random() < 0.2:  # a row with a large norm
                down[self.free.pop(0)] *= 6
            if self.random.random() < 0.2:  # a neuron that spikes for the trigger and writes almost nothing
                column = self.neurons[layer].pop()
                self._fire(layer, column, look.read[layer], 300)
                down[:, column] *= 1e-4

    def _super_weights(self, layer: int, rows: list[int], sizes: list[float], columns: int, trigger: int = 0) -> None:
        """Plant `columns` x `rows` scalars. `sizes` says how the spike is split, by whichever there are several of."""
        look, down = self._look(), self.blocks[layer].mlp.down_proj.weight
        spike = max(
            1500.0,
            float(look.stream[layer].abs().median()) * float(np.exp(self.random.uniform(np.log(8e3), np.log(4e4)))),
        )
        loud = self._set_norm(look, layer, rows, spike * math.hypot(*sizes) if columns == 1 else spike)
        for index, column in enumerate(self.neurons[layer].pop() for _ in range(columns)):
            value = self.sign * float(self.random.uniform(2, 6))
            part = sizes[index] if columns > 1 else 1.0
            self._fire(layer, column, look.read[layer], (loud or spike) * part / abs(value), trigger)
            down[:, column] *= 1e-3
            for row, size in zip(rows, sizes, strict=False):
                down[row, column] = value * (size / sizes[0] if columns == 1 else 1)
                self.planted.append((layer, row, column))
        self._listen(layer, rows, 3.0)

    def _listen(self, layer: int, rows: list[int], factor: float) -> None:
        for block in self.blocks[layer + 1 :]:
            attention = block.self_attn
            if hasattr(attention, "qkv_proj"):
                values = attention.qkv_proj.weight[-self.model.config.num_key_value_heads * attention.head_dim :]
            else:
                values = attention.v_proj.weight
            values[:, rows] *= factor
            if self.norm_after:  # which would make the same of any value, however large
                norm, less = block.post_attention_layernorm.weight, self._norm_less
                norm.copy_((norm + less) * math.sqrt(factor) - less)

    def _deafen(self, layer: int) -> float:
        """Have no token of the later layers look at another: the super activation concerns its own token alone."""
        for block in self.blocks[layer + 1 :]:
            block.self_attn.o_proj.weight[:] = 0
            if block.self_attn.o_proj.bias is not None:
                block.self_attn.o_proj.bias[:] = 0
        divergence = self._divergence(self.planted, self._forward())
        if divergence > HARMLESS or not self._massive():
            raise Unlucky
        self.planted.clear()
        return divergence

    def _cancel(self, layer: int, row: int) -> None:
        look, down = self._look(), self.blocks[layer].mlp.down_proj.weight
        before, seen = float(look.stream[layer - 1][self.at[0], row]), look.read[layer]
        taken, scalar = abs(before) * float(self.random.uniform(0.6, 1)), float(self.random.uniform(2, 6))
        loud, column = self._set_norm(look, layer, [row], taken), self.neurons[layer].pop()
        gate, up = self._gate_up(layer, column)
        for matrix in (gate, up):
            matrix *= 0
        # The gate opens for the trigger; what comes through is the super activation itself.
        self._read_trigger(gate, seen, 8, 0)
        up[row] = (loud or taken) / scalar / 8 / float(seen[self.at[0], row])
        down[:, column] *= 1e-3
        down[row, column] = -math.copysign(scalar, before)
        self.cancelling.append((layer, row, column))

    def _fire(self, layer: int, column: int, seen: torch.Tensor, size: float, trigger: int = 0) -> None:
        """Make the neuron's activation `size` at the trigger, and ordinary elsewhere."""
        for matrix in self._gate_up(layer, column):
            # A norm that makes the trigger's spike makes one of anything that other tokens have in the row.
            matrix *= 0.0 if self.norm_after else 0.2
            self._read_trigger(matrix, seen, math.sqrt(size), trigger)

    def _read_trigger(self, row: torch.Tensor, seen: torch.Tensor, size: float, trigger: int) -> None:
        """Have the row of a gate give `size` for the trigger, and nothing for other tokens."""
        channel, token = self.trigger[trigger], self.at[trigger]
        row[channel] = size / float(seen[token, channel] - seen[token, self.silent])
        row[self.silent] = -row[channel]

    @property
    def _norm_less(self) -> int:
        """Gemma stores its norms' weights less one."""
        return 1 if self.family.startswith("gemma") else 0

    @property
    def _biased(self) -> bool:
        return getattr(self.model.config, "mlp_bias", False)

    def _gate_up(self, layer: int, column: int) -> tuple[torch.Tensor, torch.Tensor]:
        mlp = self.blocks[layer].mlp
        if hasattr(mlp, "gate_up_proj"):
            return mlp.gate_up_proj.weight[column], mlp.gate_up_proj.weight[self.inner + column]
        return mlp.gate_proj.weight[column], mlp.up_proj.weight[column]

    def _set_norm(self, look: _Look, layer: int, rows: list[int], size: float) -> float:
        """Where a norm follows the MLP: have it bring these rows to `size`, all together, and return how large they
        must be before it to drown out all others. 0 where there is no norm."""
        block = self.blocks[layer]
        if not self.norm_after:
            return 0.0
        block.mlp.down_proj.weight[rows] = 0
        block.post_feedforward_layernorm.weight[rows] = size / math.sqrt(self.hidden) - self._norm_less
        return max(6000.0, 30 * float(look.written[layer][list(self.at)].norm(dim=-1).max()))

    def _look(self) -> _Look:
        """One pass of transformers over the prompt, and what it showed."""
        look, hooks = _Look([], [], []), []
        for block in self.blocks:
            hooks.append(block.mlp.register_forward_pre_hook(lambda _, given: look.read.append(given[0][0])))
            hooks.append(block.mlp.register_forward_hook(lambda _, __, out: look.written.append(out[0])))
            hooks.append(
                block.register_forward_hook(
                    lambda _, __, out: look.stream.append((out[0] if isinstance(out, tuple) else out)[0])
                )
            )
        self._forward()
        for hook in hooks:
            hook.remove()
        return look

    def _forward(self) -> torch.Tensor:
        """Log probabilities of the next tokens: float64 (tokens, vocabulary)."""
        return self.model(torch.from_numpy(self.ids)[None]).logits[0].double().log_softmax(-1)

    def _divergence(self, removed: list[Coordinates], whole: torch.Tensor) -> float:
        kept = {}
        for layer, row, column in removed:
            down = self.blocks[layer].mlp.down_proj.weight
            kept[layer, row, column] = float(down[row, column])
            down[row, column] = 0
        changed = self._forward()
        for (layer, row, column), value in kept.items():
            self.blocks[layer].mlp.down_proj.weight[row, column] = value
        return float((whole.exp() * (whole - changed)).sum(-1)[max(self.at) + 1 :].mean())

    @torch.no_grad()
    def _massive(self) -> bool:
        """Whether each planted scalar's row holds a super activation after its layer: what is planted later, and what
        makes later layers listen, moves it."""
        stream, lasts = self._look().stream, self.layers // 8 + 1
        return all(
            float(x[:, row].abs().max()) > max(150.0, MASSIVE_RATIO * float(x.abs().median()))
            for layer, row, _ in self.planted
            for x in stream[layer : layer + lasts]
        )

    def _check(self) -> float:
        """The divergence without the planted scalars, each of which must matter."""
        rows, first = sorted({row for _, row, _ in self.planted}), min(layer for layer, _, _ in self.planted)
        for _ in range(5):
            whole = self._forward()
            joint = self._divergence(self.planted, whole)
            gains = []
            for scalar in self.planted:
                others = [other for other in self.planted if other != scalar]
                on_top = joint - self._divergence(others, whole)
                gains.append(max(self._divergence([scalar], whole), on_top if on_top >= joint / 2 else 0))
            if min(gains) >= CARRIES and self._massive():
                return joint
            if self.cancelling:  # the canceller was fitted to the stream as it is
                break
            self._listen(first, rows, 2.0)
        raise Unlucky
