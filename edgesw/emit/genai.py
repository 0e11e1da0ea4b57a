"""genai_config.json: what onnxruntime-genai reads before it loads a model from a folder."""

from __future__ import annotations

import json
from typing import Any

from edgesw.decoder.spec import DecoderSpec
from edgesw.formats.write_options import WriteOptions

GENAI_CONFIG = "genai_config.json"


def genai_config(spec: DecoderSpec, options: WriteOptions, filename: str, share_buffer: bool) -> str:
    """The configuration for the graph of `write_onnx` in the file `filename`. The names of inputs and outputs are
    genai's own defaults, spelled out for people who read the file. genai rejects keys that it does not know.

    Greedy unless an app asks for sampling. With `share_buffer` past and present keys and values are one buffer, which
    is allocated for the whole context at once.
    """
    stop = list(options.stop_ids)
    past, present = "past_key_values.%d.", "present.%d."
    model: dict[str, Any] = {
        # genai's types differ in what its own model builder does for a family, which this graph does not need.
        "type": "llama",
        "context_length": options.context,
        "vocab_size": spec.vocab_size,
        "bos_token_id": options.bos_id if options.bos_id is not None else spec.bos_token_id,
        "eos_token_id": stop,
        "pad_token_id": stop[0] if stop else 0,
        "decoder": {
            "filename": filename,
            "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
            "hidden_size": spec.hidden_size,
            "num_hidden_layers": spec.layers,
            "num_attention_heads": spec.heads,
            "num_key_value_heads": spec.kv_heads,
            "head_size": spec.head_dim,
            "inputs": {
                "input_ids": "input_ids",
                "attention_mask": "attention_mask",
                "past_key_names": f"{past}key",
                "past_value_names": f"{past}value",
            },
            "outputs": {
                "logits": "logits",
                "present_key_names": f"{present}key",
                "present_value_names": f"{present}value",
            },
        },
    }
    model = {key: value for key, value in model.items() if value not in (None, [])}
    search = {"do_sample": False, "max_length": options.context, "past_present_share_buffer": share_buffer}
    return json.dumps({"model": model, "search": search}, indent=2) + "\n"
