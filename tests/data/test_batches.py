"""Batches: every clip once an epoch, and dealt to processes so that they take one's steps."""

from itertools import chain, zip_longest

import pytest

from dfercli.data.batches import EpochBatches


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
        dealt = [key for keys in zip_longest(*counted) for key in keys if key is not None]
        assert dealt == batch
        assert {b.count_batch(step) for b in each} == {len(batch)}
        # Whoever has nothing to do keeps step with a clip that does not count.
        assert all(len(share[step]) >= 1 for share in shares)
