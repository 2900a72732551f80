"""Batches: every clip once per epoch, and the same steps for any number of processes."""

from collections import Counter
from itertools import chain, zip_longest

import pytest
import torch

from dfercli.data.loaders import (
    VIEW_STRIDE,
    EpochBatches,
    balance_weights,
    build_test_loader,
    build_train_loader,
)


def test_an_epoch_takes_every_clip_once_in_an_order_of_its_own():
    batches = EpochBatches(50, batch_size=8, seed=0)
    orders = []
    for epoch in (0, 1):
        batches.epoch = epoch
        keys = list(batches)
        assert [len(batch) for batch in keys] == [8] * 6 + [2]
        assert {each for batch in keys for each, _ in batch} == {epoch}
        orders.append([index for batch in keys for _, index in batch])
        assert list(batches) == keys
    assert len(batches) == 7
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    assert orders[0] != orders[1]
    assert [index for _, index in chain(*EpochBatches(50, 8, seed=1))] != orders[0]
    assert [index for _, index in chain(*EpochBatches(50, 8, seed=0))] == orders[0]


@pytest.mark.parametrize("num_processes", [2, 3, 5])
def test_the_shares_of_all_processes_make_up_the_batches_of_one(num_processes):
    alone = list(EpochBatches(13, 4, seed=0))  # 4, 4, 4 and 1
    each = [EpochBatches(13, 4, 0, rank, num_processes) for rank in range(num_processes)]
    shares = [list(batches) for batches in each]
    assert {len(share) for share in shares} == {len(alone)} == {len(each[0])}
    for step, batch in enumerate(alone):
        counted = [shares[rank][step][: b.count_share(step)] for rank, b in enumerate(each)]
        assigned = [key for keys in zip_longest(*counted) for key in keys if key is not None]
        assert assigned == batch
        assert {b.count_batch(step) for b in each} == {len(batch)}
        # Whoever has nothing to do keeps step with a clip that does not count.
        assert all(len(share[step]) >= 1 for share in shares)


LABELS = [0] * 90 + [1] * 9 + [2]


def test_oversampling_draws_every_class_as_often():
    batches = EpochBatches(100, 8, seed=0, weights=balance_weights(LABELS))
    drawn = Counter()
    for epoch in range(100):
        batches.epoch = epoch
        keys = list(chain(*batches))
        assert len(keys) == len(set(keys)) == 100  # no view twice
        drawn.update(LABELS[index] for _, index in keys)
    # 10,000 draws at 1/3 each: the standard deviation is 47.
    assert all(abs(count - 10_000 / 3) < 200 for count in drawn.values())


def test_a_clip_that_is_drawn_again_has_views_that_no_epoch_has():
    batches = EpochBatches(100, 8, seed=0, weights=balance_weights(LABELS))
    batches.epoch = 3
    views = [view for view, index in chain(*batches) if index == 99]
    assert views == [3 + VIEW_STRIDE * time for time in range(len(views))]
    assert len(views) > 10
    again = EpochBatches(100, 8, seed=0, weights=balance_weights(LABELS))
    again.epoch = 3
    assert list(again) == list(batches)
    again.epoch = 4
    assert [index for _, index in chain(*again)] != [index for _, index in chain(*batches)]


def test_processes_share_what_one_would_draw_of_rare_classes():
    weights = balance_weights(LABELS)
    alone = list(EpochBatches(100, 8, 0, weights=weights))
    first, second = (list(EpochBatches(100, 8, 0, rank, 2, weights)) for rank in range(2))
    for batch, *shares in zip(alone, first, second, strict=True):
        assert sorted(batch) == sorted(chain(*shares))


class _Numbers(torch.utils.data.Dataset):
    """A dataset of six clips, for any keys."""

    def __len__(self):
        return 6

    def __getitem__(self, key):
        return torch.zeros(())


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_draws_nothing_that_a_model_may_draw(workers):
    """Persistent workers are seeded once, so an epoch after a restart would draw differently."""
    state = torch.get_rng_state()
    batches = EpochBatches(6, 4, seed=0)
    for loader in (
        build_train_loader(_Numbers(), batches, workers),
        build_test_loader(_Numbers(), 4, workers),
    ):
        for _ in range(2):
            assert sum(len(batch) for batch in loader) == 6
    assert torch.equal(torch.get_rng_state(), state)
