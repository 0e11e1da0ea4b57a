"""The processor time that a conversion takes, forecast from the model's shape and from what this processor multiplies
in a second."""

from __future__ import annotations

from math import prod

import torch

from edgesw.calibration.calibrate import CALIBRATION_TOKENS, CALIBRATION_WINDOWS
from edgesw.calibration.effort import compensation_windows
from edgesw.compress.compensated import MOST_COLUMNS
from edgesw.conversion.plans import Plans
from edgesw.decoder.spec import LAYER_MATRICES
from edgesw.runtime.products import product_dtype, product_rates
from edgesw.text.texts import Text

# Seconds at 100 GFLOP/s in float32, by which all of them are scaled: imports and checks; nanoseconds that fitting a
# weight takes, that compensating it takes, and that each column adds to that; seconds for a gigabyte written.
START, FIT, DESCENT, DESCENT_COLUMN, WRITING = 6.0, 30.0, 60.0, 0.07, 2.0
REFERENCE = 100e9
# Finding super weights in a model that has candidates: the number of forward passes, and the tokens in each.
DETECTION_PASSES, DETECTION_TOKENS = 24, 2048
# What a pass takes more than its products, where statistics of its inputs are taken, and where errors are compensated.
STATISTICS, STREAMS = 1.6, 1.5
# Attention computes at this share of the rate of products in float32; its scores are half of a square.
ATTENTION = 0.45
# A token's, in English and in the text that ships.
CHARACTERS = 4


def processor_seconds(plans: Plans, text: Text | None) -> float:
    """The seconds that `convert` takes on one core of this machine, with this calibration text; several cores share
    them. Its constants were measured on SmolLM2-135M (`python -m benchmarks conversion`)."""
    spec, settings = plans.spec, plans.settings
    rates = product_rates()
    slow, fast = rates[torch.float32], rates[product_dtype()]
    shapes = [spec.matrix_shape(kind) for kind in LAYER_MATRICES]
    weights = spec.layers * sum(map(prod, shapes))
    every = weights + spec.vocab_size * spec.hidden_size
    scale = REFERENCE / slow
    distinct = {plan.schemes: plan for plan in plans.compressions.values()}
    seconds = scale * (START + WRITING * plans.output_bytes / 1e9)
    if settings.hold_out:
        seconds += DETECTION_PASSES * DETECTION_TOKENS * 2 * every / fast
    if text is not None:
        tokens = CALIBRATION_WINDOWS * CALIBRATION_TOKENS
        passes = 6 if plans.mixed else 1  # back and forth for gradients, and the draws of the head
        seconds += STATISTICS * passes * tokens * 2 * weights / slow
    fits = 1 if not plans.mixed else 5
    seconds += len(distinct) * scale * fits * FIT * 1e-9 * every
    if text is not None and plans.compensated:
        there = max(1, len(text.content) // (CHARACTERS * CALIBRATION_TOKENS))
        tokens = CALIBRATION_TOKENS * min(compensation_windows(spec.parameters(), settings.effort), there)
        inputs = (spec.hidden_size, spec.heads * spec.head_dim, spec.hidden_size, spec.intermediate_size)
        moments = (
            3.2 * spec.layers * sum(width**2 for width in inputs if width <= MOST_COLUMNS)
        )  # half of X^T X, and (F - X)^T X
        attention = 2 * spec.layers * spec.heads * spec.head_dim * CALIBRATION_TOKENS
        descent = sum(
            prod(shape) * (DESCENT + DESCENT_COLUMN * shape[1]) for shape in shapes if shape[1] <= MOST_COLUMNS
        )
        each = tokens * (STREAMS * (4 * weights + moments) / fast + 2 * attention / (ATTENTION * slow))
        seconds += len(distinct) * (each + scale * 1e-9 * spec.layers * descent)
    return seconds
