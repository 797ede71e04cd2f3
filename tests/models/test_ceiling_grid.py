"""The ceiling's interpolation is the one that the models run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.score.ceiling import interpolated


@pytest.mark.parametrize(("stride", "size"), [(4, (56, 56)), (4, (5, 9)), (2, (3, 1))])
def test_logits_are_interpolated_as_torch_does_it(stride: int, size: tuple[int, int]) -> None:
    logits = np.random.default_rng(0).normal(0, 5, (3, *size)).astype(np.float32)
    target = (size[0] * stride, size[1] * stride)
    theirs = functional.interpolate(torch.from_numpy(logits)[None], size=target, mode="bilinear")[0].numpy()
    assert np.abs(interpolated(logits, stride) - theirs).max() < 1e-5
