"""The type of products: the faster one, and float32 wherever bfloat16 gains nothing."""

from __future__ import annotations

import pytest
import torch

from edgesw.runtime import products


def test_rates_are_those_of_products_of_this_machine() -> None:
    """A forecast of hours rests on them: between a slow phone core's and a server core's."""
    rates = products.product_rates()
    assert set(rates) == {torch.float32, torch.bfloat16} and all(1e8 < rate < 1e13 for rate in rates.values())


@pytest.mark.parametrize(("times", "taken"), [(4.0, torch.bfloat16), (1.2, torch.float32), (0.1, torch.float32)])
def test_bfloat16_is_taken_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, times: float, taken: torch.dtype
) -> None:
    """Where it is emulated it takes ten times as long; and where both take the same, float32 gives the same bytes on
    every machine."""
    monkeypatch.setattr(products, "product_rates", lambda: {torch.float32: 1e11, torch.bfloat16: times * 1e11})
    assert products.product_dtype() == taken
