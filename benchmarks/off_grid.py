"""The same model with its weights off the grid that a quantised file left them on.

python benchmarks/off_grid.py FOLDER [--model smollm2-135m]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.checkpoint.places import find_places, hf_place
from edgesw.errors import EdgeswError
from edgesw.families.families import family_of

# Factors of columns lie between 1 / FURTHEST and FURTHEST: an integer of 3 is off its grid by up to 0.75 then.
FURTHEST = 1.25


class OffGrid:
    """Weights with each column of each of the layers' matrices times a random factor, and each channel that is
    multiplied with it over the same: the decoder computes what it did.

    Query, key and value read one norm, and gate and up another, whose weights take what the columns gain. A channel
    of value reaches columns of o_proj, one for each query head that shares it; one of up reaches a column of down_proj.
    """

    def __init__(self, checkpoint: Checkpoint, seed: int = 0) -> None:
        spec = checkpoint.spec
        if spec.norm != "rms" or not spec.norm_before or spec.biased or spec.clip_qkv:
            sys.exit(f"Error: only for decoders with norms before, and neither biases nor clipping; not {spec.family}.")
        self._checkpoint, self._spec, self._seed = checkpoint, spec, seed

    def tensor(self, name: str) -> np.ndarray:
        """Float32, as `Checkpoint.tensor`."""
        values = self._checkpoint.tensor(name)
        if not name.startswith("layers."):
            return values
        _, layer, kind = name.split(".")
        of_channel = {
            "attention_norm": self._factors(int(layer), "attention"),
            "mlp_norm": self._factors(int(layer), "mlp"),
            "v_proj": self._factors(int(layer), "value"),
            "up_proj": self._factors(int(layer), "up"),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where to write it, as safetensors of float16")
    parser.add_argument("--model", default="smollm2-135m", help="what edgesw convert takes (default: smollm2-135m)")
    given = parser.parse_args()
    try:
        write(open_checkpoint(given.model), given.folder)
    except EdgeswError as error:
        sys.exit(f"Error: {error}")


def write(checkpoint: Checkpoint, folder: Path) -> None:
    """A checkpoint as transformers would write it."""
    places = find_places(family_of(checkpoint.config, "config"), checkpoint.spec, hf_place)
    off_grid = OffGrid(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in checkpoint.tokenizer_files().items():
        (folder / name).write_bytes(content)
    (folder / "config.json").write_text(json.dumps(checkpoint.config, indent=1) + "\n", encoding="utf-8")
    tensors = {places[name].name: off_grid.tensor(name).astype(np.float16) for name in checkpoint.names()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
