"""Sampled frames: values worked out by hand, ranges, and randomness."""

import numpy as np
import pytest

from dfercli.config import ModelConfig
from dfercli.data.sampling import MIDDLE, Segments, Snippets, find_sampler, view_positions
from dfercli.errors import ConfigError


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


def _sampler(name, num_frames):
    return find_sampler(ModelConfig(sampling=name, num_frames=num_frames))


def _weights(num_available):
    return np.random.default_rng(num_available).random(max(1, num_available - 3))


SAMPLINGS = [("segments", 16), ("8x2", 16), ("4x4", 16), ("even", 16), ("snippets", 35)]
SAMPLINGS += [("freq-hd", 16), ("snippets", 7)]


@pytest.mark.parametrize(("name", "num_frames"), SAMPLINGS)
@pytest.mark.parametrize("num_available", [*range(1, 40), 105, 400])
def test_every_sampling_gives_t_ascending_frames_of_any_video(name, num_frames, num_available):
    sampler, rng = _sampler(name, num_frames), np.random.default_rng(0)
    weights = _weights(num_available)
    views = [sampler.test(num_available, position, weights) for position in view_positions(3)]
    views += [sampler.train(num_available, rng, weights) for _ in range(3)]
    for indices in views:
        assert indices.shape == (num_frames,)
        assert indices.min() >= 0
        assert indices.max() < num_available
        if name != "snippets":  # whose parts overlap
            assert (np.diff(indices) >= 0).all()
    if num_available >= num_frames and name != "snippets":
        assert len(set(views[0].tolist())) == num_frames, "no frame twice"


def test_two_frames_of_eight_segments_by_hand():
    # Segments of 8 frames: the middle of the 7 places where two frames can start is 3.5.
    starts = [3, 11, 19, 27, 35, 43, 51, 59]
    expected = [frame for start in starts for frame in (start, start + 1)]
    assert _sampler("8x2", 16).test(64).tolist() == expected


def test_consecutive_frames_reach_every_frame_in_training():
    rng, sampler = np.random.default_rng(0), _sampler("8x2", 16)
    draws = np.stack([sampler.train(64, rng) for _ in range(300)])
    assert set(draws.ravel().tolist()) == set(range(64))
    assert (draws[:, 1::2] == draws[:, ::2] + 1).all()
    assert (draws // 8 == np.repeat(np.arange(8), 2)).all(), "each stays in its segment"


def test_even_frames_move_together_in_training():
    draw = _sampler("even", 4).train(40, np.random.default_rng(1))
    assert set(np.diff(draw).tolist()) == {10}


def test_snippets_of_a_video_of_105_frames_by_hand():
    indices = Snippets(35).test(105).reshape(7, 5)
    assert indices[0].tolist() == [15, 18, 21, 24, 27]
    assert indices[6].tolist() == [75, 78, 81, 84, 87]
    half = Snippets(35).test(52).reshape(7, 5)  # each frame about twice
    assert half[0].tolist() == [7, 9, 10, 12, 13]  # (j + 0.5) * 52 / 105


def test_snippets_in_training_lie_in_their_parts():
    rng = np.random.default_rng(0)
    for _ in range(50):
        parts = Snippets(35).train(105, rng).reshape(7, 5)
        assert (np.diff(parts) > 0).all()
        assert (np.ptp(parts, axis=1) < 15).all()
        assert 0 <= parts[0, 0] <= parts[6, 4] < 105


def test_motion_windows_are_the_heaviest_ones_that_do_not_overlap():
    weights = np.zeros(17)
    weights[[2, 4, 9]] = [3.0, 2.0, 1.0]  # the second overlaps the first
    assert _sampler("freq-hd", 8).test(20, weights=weights).tolist() == [2, 3, 4, 5, 9, 10, 11, 12]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"sampling": "8x2"}, "sampling 8x2 gives 16 frames, but num_frames is 8"),
        ({"sampling": "often"}, "no sampling 'often'; known: segments, even"),
        ({"sampling": "snippets", "num_frames": 36}, "use 35"),
        ({"sampling": "freq-hd", "num_frames": 10}, "use a multiple of 4"),
    ],
)
def test_what_cannot_be_sampled_is_one_line(settings, reason):
    with pytest.raises(ConfigError, match=reason):
        find_sampler(ModelConfig(**settings))
