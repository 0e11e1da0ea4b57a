"""Every family read from safetensors gives transformers' logits: a wrong switch gives a model that writes nonsense."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_families import VARIANTS, save

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.decoder.spec import DecoderSpec
from edgesw.files.type_check import structure
from edgesw.runtime.torch import FloatLogits


@pytest.mark.parametrize("tokens", [20, 60])
@pytest.mark.parametrize("variant", VARIANTS)
def test_float_logits_are_those_of_transformers(variant: str, tokens: int, tmp_path: Path) -> None:
    """60 tokens exceed every window and the original context of a LongRoPE; 20 do not exceed the latter."""
    model = save(variant, tmp_path)
    ids = np.random.default_rng(1).integers(0, 96, (2, tokens))
    checkpoint = open_checkpoint(str(tmp_path))
    assert checkpoint.spec.family in variant
    assert checkpoint.spec.parameters() == model.num_parameters(), "biases, norms and a tied head among them"
    ours = np.stack(list(FloatLogits(checkpoint.spec, checkpoint, ids)))
    with torch.inference_mode():
        theirs = model(torch.from_numpy(ids)).logits.numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)
    assert theirs.std() > 0.1


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_spec_survives_the_manifest(variant: str, tmp_path: Path) -> None:
    """A package runs by the spec in its manifest: a switch lost there would give a different model."""
    import json

    save(variant, tmp_path)
    spec = open_checkpoint(str(tmp_path)).spec
    assert structure(DecoderSpec, json.loads(json.dumps(asdict(spec)))) == spec
