"""Garden: a small random decoder, made by transformers, in which super weights are planted among decoys."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import transformers

VOCABULARY, WINDOWS = 96, 16
BASE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0, "max_position_embeddings": 64, "sliding_window": 16,
}  # fmt: skip
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
GEMMA3_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
}
# Name -> (transformers' class without "ForCausalLM" and "Config", the family's own switches).
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-3": ("Llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama-biased": ("Llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 32}),
    "mistral": ("Mistral", {}),
    "smollm3": ("SmolLM3", {"no_rope_layer_interval": 2}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "phi3": ("Phi3", {}),
    "olmo": ("Olmo", {"clip_qkv": 8.0}),
    "olmo2": ("Olmo2", {}),
    "gemma2": (
        "Gemma2",
        {"head_dim": 32, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    "gemma3": ("Gemma3", {"head_dim": 32, "query_pre_attn_scalar": 24, "rope_parameters": GEMMA3_ROPE}),
}
KINDS = ("none", "harmless", "influential", "one", "row", "fan", "layers", "cancel")
"""No super weight; a scalar that makes a super activation which nothing reads; one that makes a super activation whose
loss has a clear effect and does not destroy the model; one super weight; several columns that
feed one row; one column that feeds several rows; two layers; one, and a later layer that cancels its super activation.
All are planted among decoys: large scalars, large rows, spikes without effect."""

Coordinates = tuple[int, int, int]
CARRIES = 0.2
"""KL divergence, in nats, that each planted scalar must cause: alone, or on top of the others as half of what all do. A
model that the others have destroyed would change its predictions again after any further change."""
DESTROYS, INFLUENCES = 0.7, (0.1, 0.3)
"""What the loss of planted super weights, and of an influential scalar, must cost on the text: KL divergence as a share
of that of the model's predictions from their own average. No scalar between these shares is planted."""
IDLE = 0.02
"""What the loss of a cancelling scalar may cost there: many in a random decoder matter as much as what they cancel."""
HARMLESS = 0.01
"""KL divergence, in nats, below which a scalar is not a super weight. Scalars in between are not planted."""
MASSIVE_RATIO = 1500.0
"""The least ratio of a planted super activation to the median of the residual stream."""


class Unlucky(Exception):
    """Raised for a random decoder that does not depend on the scalars planted in it."""


@dataclass(frozen=True)
class _Look:
    """What each layer's MLP read and wrote, and the residual stream after it, each (tokens, hidden)."""

    read: list[torch.Tensor]
    written: list[torch.Tensor]
    stream: list[torch.Tensor]


@dataclass
class Garden:
    """A decoder of one family, and what has been planted in it so far."""

    family: str
    random: np.random.Generator
    planted: list[Coordinates] = field(default_factory=list)
    cancelling: list[Coordinates] = field(default_factory=list)
    influential: list[Coordinates] = field(default_factory=list)
    triggers: dict[Coordinates, int] = field(default_factory=dict)  # which of the two triggers a planted scalar needs

    def __post_init__(self) -> None:
        pick = self.random.choice
        self.layers, self.hidden = int(self.random.integers(4, 17)), int(pick([48, 64, 96, 128, 192, 256]))
        self.inner = int(self.hidden * self.random.uniform(1.5, 3))
        self.model = self._decoder()
        self.blocks = self.model.model.layers
        self.norm_after = hasattr(self.blocks[0], "post_feedforward_layernorm")
        tokens = int(self.random.integers(7, 13))
        self.ids = self.random.permutation(np.arange(3, VOCABULARY))[:tokens]
        # Positions of the triggers; each alone has a value in its own channel.
        self.at = int(pick([0, 0, 0, 1, 2])), 3
        # A text of windows that begin as the prompt, with the triggers, which occur nowhere else.
        begun = self.ids[: self.at[1] + 1]
        ordinary = np.setdiff1d(np.arange(3, VOCABULARY), begun)
        self.text = np.stack([np.append(begun, self.random.choice(ordinary, 28)) for _ in range(WINDOWS)])
        self.sign = int(pick([-1, 1]))
        self.free = self.random.permutation(self.hidden).tolist()  # channels that are not used yet
        self.neurons = [self.random.permutation(self.inner).tolist() for _ in range(self.layers)]
        self.trigger = self.free.pop(), self.free.pop()
        self.silent = self.free.pop()  # zero for every token: a norm that subtracts the mean leaves that mean there

    def _decoder(self) -> Any:
        name, switches = FAMILIES[self.family]
        sizes = {
            "hidden_size": self.hidden, "intermediate_size": self.inner, "num_hidden_layers": self.layers,
            "initializer_range": self.hidden**-0.5, "tie_word_embeddings": bool(self.random.integers(2)),
        }  # fmt: skip
        if self.family == "gemma3":
            sizes["layer_types"] = [("full" if i % 3 == 2 else "sliding") + "_attention" for i in range(self.layers)]
        config = getattr(transformers, "Gemma3TextConfig" if name == "Gemma3" else f"{name}Config")
        torch.manual_seed(int(self.random.integers(1 << 30)))
        model = getattr(transformers, f"{name}ForCausalLM")(
            config(**{**BASE, **switches, **sizes}, attn_implementation="eager")
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
        if kind in ("one", "cancel", "harmless", "influential"):
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
        if kind == "influential":
            return self._mute(first, row)
        if kind == "cancel":
            self._cancel(int(self.random.integers(first + lasts + 1, self.layers)), row)
        return self._check()

    def _set_trigger(self) -> None:
        """Gives the trigger's channel a value for the trigger's token alone, in every layer."""
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
        """Plants scalars that look like super weights, in the weights or in the activations, and are not."""
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
        """Plants `columns` x `rows` scalars. `sizes`: how the spike is split among them, whichever is plural."""
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
                self.triggers[layer, row, column] = trigger
        self._listen(layer, rows, 3.0)

    def _listen(self, layer: int, rows: list[int], factor: float) -> None:
        for block in self.blocks[layer + 1 :]:
            attention = block.self_attn
            if hasattr(attention, "qkv_proj"):
                values = attention.qkv_proj.weight[-self.model.config.num_key_value_heads * attention.head_dim :]
            else:
                values = attention.v_proj.weight
            values[:, rows] *= factor
            if self.norm_after:  # which gives the same output for any value, however large
                norm, less = block.post_attention_layernorm.weight, self._norm_less
                norm.copy_((norm + less) * math.sqrt(factor) - less)

    def _deafen(self, layer: int) -> float:
        """Stops later layers from moving values between tokens: the super activation affects its own token alone."""
        for block in self.blocks[layer + 1 :]:
            block.self_attn.o_proj.weight[:] = 0
            if block.self_attn.o_proj.bias is not None:
                block.self_attn.o_proj.bias[:] = 0
        divergence = self._divergence(self.planted, self._forward())
        if divergence > HARMLESS or not self._massive():
            raise Unlucky
        self.planted.clear()
        return divergence

    def _destroys(self, scalar: Coordinates) -> bool:
        """Whether the loss of a planted scalar destroys the model on the text, alone or as most of what that of the
        scalars does that need the same trigger."""
        if self._share_lost([scalar]) >= DESTROYS:
            return True
        own = [at for at in self.planted if self.triggers[at] == self.triggers[scalar]]
        joint = self._share_lost(own)
        return joint >= DESTROYS and joint - self._share_lost([at for at in own if at != scalar]) >= joint / 2

    def _mute(self, layer: int, row: int) -> float:
        """Makes later layers respond less to a super activation, until its loss matters and does not destroy."""
        for _ in range(12):
            divergence = self._divergence(self.planted, self._forward())
            share = self._share_lost(self.planted)
            if share <= INFLUENCES[1]:
                break
            self._listen(layer, [row], 0.8)
        if not INFLUENCES[0] <= share <= INFLUENCES[1] or divergence < CARRIES / 2 or not self._massive():
            raise Unlucky
        self.influential = [*self.planted]
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
        # The gate opens for the trigger and lets the super activation itself through.
        self._read_trigger(gate, seen, 8, 0)
        up[row] = (loud or taken) / scalar / 8 / float(seen[self.at[0], row])
        down[:, column] *= 1e-3
        down[row, column] = -math.copysign(scalar, before)
        self.cancelling.append((layer, row, column))

    def _fire(self, layer: int, column: int, seen: torch.Tensor, size: float, trigger: int = 0) -> None:
        """Makes the neuron's activation `size` at the trigger, and ordinary elsewhere."""
        for matrix in self._gate_up(layer, column):
            # A norm that makes the trigger's spike would also make one of other tokens' values in the row.
            matrix *= 0.0 if self.norm_after else 0.2
            self._read_trigger(matrix, seen, math.sqrt(size), trigger)

    def _read_trigger(self, row: torch.Tensor, seen: torch.Tensor, size: float, trigger: int) -> None:
        """Makes the row of a gate give `size` for the trigger and nothing for other tokens."""
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
        """Where a norm follows the MLP: makes it scale these rows to `size`, all together. Returns how large they must
        be before the norm to dominate all others; 0 where there is no norm."""
        block = self.blocks[layer]
        if not self.norm_after:
            return 0.0
        block.mlp.down_proj.weight[rows] = 0
        block.post_feedforward_layernorm.weight[rows] = size / math.sqrt(self.hidden) - self._norm_less
        return max(6000.0, 30 * float(look.written[layer][list(self.at)].norm(dim=-1).max()))

    def _look(self) -> _Look:
        """Runs transformers over the prompt and records each layer."""
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

    def _forward(self, ids: np.ndarray | None = None) -> torch.Tensor:
        """Log probabilities of the next tokens, on the prompt: float64 (tokens, vocabulary), or on other windows."""
        given = self.ids[None] if ids is None else ids
        logits = self.model(torch.from_numpy(given)).logits.double().log_softmax(-1)
        return logits[0] if ids is None else logits

    def _share_lost(self, removed: list[Coordinates]) -> float:
        """The KL divergence on the text without the scalars, as a share of what the model knows from the context."""
        begun = max(self.at)
        whole = self._forward(self.text)[:, begun:-1]
        average = whole.exp().mean((0, 1))
        known = float((whole.exp() * (whole - average.log())).sum(-1).mean())
        with self._without(removed):
            changed = self._forward(self.text)[:, begun:-1]
        return float((whole.exp() * (whole - changed)).sum(-1).mean()) / known

    def _divergence(self, removed: list[Coordinates], whole: torch.Tensor) -> float:
        with self._without(removed):
            changed = self._forward()
        return float((whole.exp() * (whole - changed)).sum(-1)[max(self.at) + 1 :].mean())

    @contextmanager
    def _without(self, removed: list[Coordinates]) -> Iterator[None]:
        """The model with these scalars zeroed."""
        before = {}
        for layer, row, column in removed:
            down = self.blocks[layer].mlp.down_proj.weight
            before[layer, row, column] = float(down[row, column])
            down[row, column] = 0
        yield
        for (layer, row, column), value in before.items():
            self.blocks[layer].mlp.down_proj.weight[row, column] = value

    @torch.no_grad()
    def _massive(self) -> bool:
        """Whether each planted scalar's row has a super activation after its layer: later plantings may move it."""
        stream, lasts = self._look().stream, self.layers // 8 + 1
        return all(
            float(x[:, row].abs().max()) > max(150.0, MASSIVE_RATIO * float(x.abs().median()))
            for layer, row, _ in self.planted
            for x in stream[layer : layer + lasts]
        )

    def _check(self) -> float:
        """The divergence without the planted scalars. Unlucky where one of them does not matter."""
        rows, first = sorted({row for _, row, _ in self.planted}), min(layer for layer, _, _ in self.planted)
        for _ in range(5):
            whole = self._forward()
            joint = self._divergence(self.planted, whole)
            gains = []
            for scalar in self.planted:
                others = [other for other in self.planted if other != scalar]
                on_top = joint - self._divergence(others, whole)
                gains.append(max(self._divergence([scalar], whole), on_top if on_top >= joint / 2 else 0))
            idle = not self.cancelling or self._share_lost(self.cancelling) <= IDLE
            if min(gains) >= CARRIES and idle and all(map(self._destroys, self.planted)) and self._massive():
                return joint
            if self.cancelling:  # which was fitted to the stream as it is
                break
            self._listen(first, rows, 2.0)
        raise Unlucky
