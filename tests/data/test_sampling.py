"""Sampled frames: values worked out by hand, ranges, and randomness."""

import numpy as np
import pytest

from dfercli.data.sampling import MIDDLE, Segments, view_positions


def sample_test(num_available, num_frames, position=MIDDLE):
    return Segments(num_frames).test(num_available, position)


def sample_train(num_available, num_frames, rng):
    return Segments(num_frames).train(num_available, rng)


@pytest.mark.parametrize(
    ("num_available", "num_frames", "indices"),
    [
        (16, 8, [1, 3, 5, 7, 9, 11, 13, 15]),  # segments of two frames; the later is the middle
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (5, 8, [0, 1, 2, 3, 4, 4, 4, 4]),  # too few: all, then the last again
        (1, 8, [0] * 8),
        (9, 8, [0, 1, 2, 3, 5, 6, 7, 8]),  # (i + 0.5) * 9/8 = 0.56, 1.69, 2.81, 3.94, 5.06 ...
        (25, 8, [1, 4, 7, 10, 14, 17, 20, 23]),  # 1.56, 4.69, 7.81, 10.94, 14.06, 17.19, 20.31 ...
        (24, 8, [1, 4, 7, 10, 13, 16, 19, 22]),  # the middle one of each three
        (10, 1, [5]),
        (1, 1, [0]),
    ],
)
def test_the_test_view_takes_the_middle_of_each_segment(num_available, num_frames, indices):
    assert sample_test(num_available, num_frames).tolist() == indices


def _train(num_available, num_frames, seed=0):
    return sample_train(num_available, num_frames, np.random.default_rng(seed))


@pytest.mark.parametrize("num_views", [1, 2, 3, 4])
def test_views_are_evenly_spaced_and_begin_with_the_single_view(num_views):
    views = [sample_test(96, 8, position) for position in view_positions(num_views)]
    assert views[0].tolist() == sample_test(96, 8).tolist()
    steps = np.diff(np.sort(np.concatenate(views)))
    assert set(steps.tolist()) == {96 // 8 // num_views}
    for view in views:
        assert (view // 12).tolist() == list(range(8)), "each view has a frame of each segment"


@pytest.mark.parametrize("sample", [sample_test, _train])
@pytest.mark.parametrize("num_frames", range(1, 33))
def test_indices_ascend_and_are_in_range(sample, num_frames):
    for num_available in range(1, 201):
        indices = sample(num_available, num_frames)
        assert indices.shape == (num_frames,)
        assert np.issubdtype(indices.dtype, np.integer)
        assert indices[0] >= 0
        assert indices[-1] < num_available
        steps = np.diff(indices)
        assert (steps >= 0).all()
        if num_available < num_frames:
            assert set(indices.tolist()) == set(range(num_available))  # none left out
        elif sample is sample_test or num_available % num_frames == 0:
            assert (steps >= 1).all()  # none twice; drawn segments may share a frame at their ends


@pytest.mark.parametrize(("num_available", "num_frames"), [(20, 8), (24, 8), (8, 8), (100, 16)])
def test_training_draws_stay_in_their_segments_and_reach_every_frame(num_available, num_frames):
    rng = np.random.default_rng(0)
    draws = np.stack([sample_train(num_available, num_frames, rng) for _ in range(500)])
    length = num_available / num_frames
    first = np.floor(np.arange(num_frames) * length)
    last = np.ceil(np.arange(1, num_frames + 1) * length) - 1
    assert (draws.min(axis=0) == first).all()
    assert (draws.max(axis=0) == last).all()
    assert set(draws.ravel().tolist()) == set(range(num_available))


def test_each_frame_of_a_segment_is_as_likely_as_the_others():
    rng = np.random.default_rng(0)
    draws = np.stack([sample_train(32, 8, rng) for _ in range(1000)])
    counts = np.bincount(draws.ravel(), minlength=32)
    # 250 of 1000 draws each, with a standard deviation of sqrt(1000 * 1/4 * 3/4) = 13.7.
    assert np.abs(counts - 250).max() < 4 * 13.7


def test_segments_are_drawn_apart_from_each_other():
    rng = np.random.default_rng(0)
    draws = np.stack([sample_train(80, 8, rng) for _ in range(200)])
    offsets = draws - np.arange(8) * 10
    together = np.corrcoef(offsets.T)[np.triu_indices(8, k=1)]
    assert np.abs(together).max() < 0.3  # 200 draws: chance alone reaches about 0.2


def test_training_draws_follow_from_the_generator():
    assert (_train(100, 8, seed=3) == _train(100, 8, seed=3)).all()
    assert (_train(100, 8, seed=3) != _train(100, 8, seed=4)).any()
    rng = np.random.default_rng(3)
    assert (sample_train(100, 8, rng) != sample_train(100, 8, rng)).any()


@pytest.mark.parametrize("num_available", range(1, 8))
def test_a_short_video_trains_as_it_is_tested(num_available):
    assert _train(num_available, 8).tolist() == sample_test(num_available, 8).tolist()
