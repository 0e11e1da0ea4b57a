"""Writes the same model with other weights, so that formats whose grid the source was quantized to have no advantage.

Each column of a matrix is multiplied by a random factor between 0.8 and 1.25, and the norm or the rows before it are
divided by it, so that the decoder computes what it did (to float16). SmolLM2 comes as a Q4_1 file: its weights lie on
a grid of 4 bits, with a scale and a minimum for every 32 of a row, which formats with such a grid (llama.cpp's Q4_K,
less so edgesw's) reproduce almost exactly. Off that grid all formats have the same task: run the quality benchmark
with --model FOLDER.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.lib.arguments import add_model
from benchmarks.lib.benchmark import Benchmark, Section
from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.checkpoint.places import find_places, hf_place
from edgesw.decoder.names import TensorName
from edgesw.families.registry import family_of

BENCHMARK = Benchmark(
    "Nothing itself: writes the model that the quality benchmark measures, the same function with other weights.",
    minutes=1,
    docs=(Section("docs/quality.md", "SmolLM2-135M, off its grid"),),
)
# Factors of columns lie between 1 / FURTHEST and FURTHEST: an integer of 3 is then off its grid by up to 0.75.
FURTHEST = 1.25


class OffGrid:
    """Weights with each column of the layers' matrices multiplied by a random factor, and the channel that it is
    multiplied with divided by the factor: the decoder computes what it did.

    Query, key and value read one norm, gate and up another, and these norms' weights are divided. A channel of value
    reaches columns of o_proj, one for each query head that shares it; a channel of up reaches a column of down_proj.
    """

    def __init__(self, checkpoint: Checkpoint, seed: int = 0) -> None:
        spec = checkpoint.spec
        if spec.norm != "rms" or not spec.norm_before or spec.biased or spec.clip_qkv:
            sys.exit(f"Error: only for decoders with norms before, and neither biases nor clipping; not {spec.family}.")
        self._checkpoint, self._spec, self._seed = checkpoint, spec, seed

    def tensor(self, name: str) -> np.ndarray:
        """Float32, as `Checkpoint.tensor`."""
        values = self._checkpoint.tensor(name)
        parsed = TensorName.parse(name)
        layer, kind = parsed.layer, parsed.kind
        if layer is None:
            return values
        of_channel = {
            "attention_norm": self._factors(layer, "attention"),
            "mlp_norm": self._factors(layer, "mlp"),
            "v_proj": self._factors(layer, "value"),
            "up_proj": self._factors(layer, "up"),
        }
        of_column = {
            **dict.fromkeys(("q_proj", "k_proj", "v_proj"), of_channel["attention_norm"]),
            **dict.fromkeys(("gate_proj", "up_proj"), of_channel["mlp_norm"]),
            "o_proj": self._by_query_head(of_channel["v_proj"]),
            "down_proj": of_channel["up_proj"],
        }
        if kind in of_column:
            values = values * of_column[kind]
        if kind in of_channel:
            values = (values.T / of_channel[kind]).T
        return values

    def _factors(self, layer: int, what: str) -> np.ndarray:
        spec = self._spec
        count = {"value": spec.matrix_shape("v_proj")[0], "up": spec.intermediate_size}.get(what, spec.hidden_size)
        draw = np.random.default_rng([self._seed, layer, *what.encode()])
        return (FURTHEST ** draw.uniform(-1, 1, count)).astype(np.float32)

    def _by_query_head(self, factors: np.ndarray) -> np.ndarray:
        heads = factors.reshape(self._spec.kv_heads, self._spec.head_dim)
        return heads.repeat(self._spec.heads // self._spec.kv_heads, 0).ravel()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="where to write the model, as safetensors of float16")
    add_model(parser)


def main(given: argparse.Namespace) -> None:
    write(open_checkpoint(given.model), given.folder)


def write(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes a checkpoint as transformers would."""
    places = find_places(family_of(checkpoint.config, "config"), checkpoint.spec, hf_place)
    off_grid = OffGrid(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in checkpoint.tokenizer_files().items():
        (folder / name).write_bytes(content)
    (folder / "config.json").write_text(json.dumps(checkpoint.config, indent=1) + "\n", encoding="utf-8")
    tensors = {places[name].name: off_grid.tensor(name).astype(np.float16) for name in checkpoint.names()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
