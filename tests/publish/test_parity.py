"""The clips that an ONNX file is compared on differ, and their batches have several sizes."""

import numpy as np

from dfercli.publish.onnx_file import BATCHES, compare_probs, draw_clips, split_batches


def test_twenty_different_people_move_and_are_the_same_each_time():
    clips = draw_clips(3, 32)
    assert (clips.shape, clips.dtype) == ((20, 3, 32, 32, 3), np.uint8)
    assert len({clip.tobytes() for clip in clips[:, 0]}) == 20
    assert (np.abs(clips[:, 0].astype(int) - clips[:, -1]).max(axis=(1, 2, 3)) > 20).all()
    assert (draw_clips(3, 32) == clips).all()


def test_no_two_batches_are_alike():
    sizes = [len(batch) for batch in split_batches(np.arange(20))]
    assert sizes == list(BATCHES)
    assert len(set(sizes)) == len(sizes)
    assert 1 in sizes


def test_differences_are_counted():
    ours = np.array([[0.6, 0.4], [0.3, 0.7]])
    theirs = np.array([[0.5, 0.5], [0.6, 0.4]])
    found = compare_probs(ours, theirs)
    np.testing.assert_allclose((found.largest, found.mean), (0.3, 0.2))
    assert (found.num_clips, found.num_same) == (2, 1)
