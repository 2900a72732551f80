"""Pictures with frames: every frame, map and bar is where it belongs."""

from dataclasses import replace

import numpy as np
import pytest

from dfercli.report.figures import (
    MOST_FRAMES,
    attention_figure,
    choose_frames,
    errors_figure,
    similarity_figure,
    similarity_histogram_figure,
)


@pytest.fixture(params=["seven", "eleven"])
def class_names(request, names):
    return getattr(names, request.param)


def _images(figure):
    return [image for axes in figure.findobj(match=_is_axes) for image in axes.images]


def _is_axes(artist):
    return hasattr(artist, "images") and hasattr(artist, "get_lines")


def test_errors_are_named_beside_their_frames(class_names, make_picture, words_inside):
    last = len(class_names) - 1
    clips = [make_picture(len(class_names), label, names=("m",)) for label in (2, last)]
    figure = errors_figure(clips, class_names)
    words = words_inside(figure)
    assert words == [
        f"neutral, predicted {class_names[0]} (50%)",
        f"{class_names[last]}, predicted {class_names[0]} (50%)",
    ]
    drawn = _images(figure)
    assert len(drawn) == 2 * 8
    assert (drawn[0].get_array() == clips[0].frames[0]).all()


def test_attention_has_a_row_of_frames_and_one_a_model(class_names, make_picture, words_inside):
    clips = [make_picture(len(class_names), label) for label in (1, len(class_names) - 1)]
    figure = attention_figure(clips, class_names)
    words = words_inside(figure)
    assert words[0] == "true class:\nsadness"
    assert words[1] == "one:\nhappiness\n50%\n(interaction 25%)"
    assert words[2] == "two:\nsadness\n60%"
    drawn = _images(figure)
    assert len(drawn) == 2 * 8 * (1 + 2 * 2)  # frames, and a grey frame and a map a model
    arrays = [np.asarray(image.get_array()) for image in drawn]
    maps = [array for array in arrays if array.shape == (2, 2)]
    highest = clips[0].maps["one"].max()
    assert maps[0] == pytest.approx(clips[0].maps["one"][0] / highest)
    assert max(each.max() for each in maps) == pytest.approx(1)


def test_similarities_are_bars_of_which_the_true_class_is_marked(
    class_names, make_picture, words_inside
):
    clips = [make_picture(len(class_names), label) for label in (0, len(class_names) - 1)]
    figure = similarity_figure(clips, class_names)
    words = words_inside(figure)
    assert {"one", "two", f"true class: {class_names[-1]}"} <= set(words)
    axes = [axes for axes in figure.findobj(_is_axes) if axes.containers]
    assert len(axes) == 2
    for panel, clip in zip(axes, clips, strict=True):
        for bars, cosines in zip(panel.containers, clip.similarities.values(), strict=True):
            assert [bar.get_height() for bar in bars] == pytest.approx(cosines)
            edges = [bar.get_edgecolor()[3] for bar in bars]
            assert int(np.argmax(edges)) == int(cosines.argmax())
        bold = [t.get_text() for t in panel.get_xticklabels() if t.get_fontweight() == "bold"]
        assert bold == [class_names[clip.label]]


def test_histograms_part_the_true_class_from_the_others(words_inside):
    cosines = np.array([[0.9, 0.1, 0.2], [0.0, 0.8, 0.1]])
    figure = similarity_histogram_figure({"only TP": cosines, "TP + VP": cosines}, np.array([0, 1]))
    words = words_inside(figure)
    assert {"only TP", "TP + VP", "true class", "other classes"} <= set(words)
    others, true = figure.axes[0].containers
    centres = [bar.get_x() + bar.get_width() / 2 for bar in true if bar.get_height()]
    assert min(centres) > 0.7
    assert sum(bar.get_height() for bar in others) == pytest.approx(1)
    means = [line.get_xdata()[0] for line in figure.axes[0].get_lines()]
    assert means == pytest.approx([0.1, 0.85])


def test_of_many_frames_some_are_drawn_evenly(make_picture, words_inside, names):
    clip = make_picture(7, frames=16)
    assert choose_frames(clip).tolist() == [0, 2, 4, 6, 9, 11, 13, 15]
    assert len(_images(attention_figure([clip], names.seven))) == MOST_FRAMES * 5
    still = make_picture(7, frames=1)
    for draw in (attention_figure, similarity_figure):
        words_inside(draw([still], names.seven))
    words_inside(errors_figure([replace(still, predictions={"m": (1, 1.0)})], names.seven))
