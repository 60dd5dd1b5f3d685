"""Batch norm over all processes equals batch norm where there is one process."""

import torch
import torch.distributed as dist

from selftrain.models.norm import synchronise
from tests.models.networks import pixels, segmenter


def test_synchronised_norms_change_nothing_on_one_process():
    images = pixels(64, 64)
    expected = segmenter().train()(images)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = synchronise(segmenter().train(), torch.device("cpu"))
        assert sum(type(m).__name__.startswith("Gloo") for m in model.head.neck.modules()) == 3 + 2 * 7
        torch.testing.assert_close(
            model(images), expected, rtol=1e-3, atol=1e-3 * float(expected.detach().abs().max())
        )
    finally:
        dist.destroy_process_group()
