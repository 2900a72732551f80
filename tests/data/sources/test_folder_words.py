"""Labels and paths of own videos: other spellings are unified or refused."""

import unicodedata

import pytest

from dfercli.data.sources.base import Choices
from dfercli.data.sources.folder import read_sources
from dfercli.errors import DataError


def _sources(root, num_folds, **choices):
    return read_sources(root, Choices(num_folds=num_folds, **choices)).sources


def _error(root, num_folds=2, **choices):
    """Return the text of the error without the path of the list; it must be one line."""
    with pytest.raises(DataError) as caught:
        _sources(root, num_folds, **choices)
    (text,) = str(caught.value).splitlines()
    return text.replace(str(root / "labels.csv"), "LIST")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["a.mp4,Fear,p", "b.mp4,fear,q"], "labels 'Fear' and 'fear'"),
        (["a.mp4,fear,Anna", "b.mp4,fear,ben", "c.mp4,fear,anna"], "groups 'Anna' and 'anna'"),
        (["a.mp4,fear,STRASSE", "b.mp4,fear,straße"], "groups 'STRASSE' and 'straße'"),
    ],
)
def test_words_that_differ_in_case_are_refused(write_labels, lines, words):
    root = write_labels("path,label,group", *lines)
    assert _error(root) == f"LIST: {words} differ only in case; use one spelling"


def _decompose(text):
    """Spell a letter and its accent as two, as macOS does."""
    assert unicodedata.normalize("NFD", text) != text
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize("other", [_decompose("gêné été"), "gêné  été", "gêné\u00a0été"])
def test_another_spelling_of_a_word_is_the_same_word(write_labels, other):
    lines = ["a.mp4,gêné été,gêné été", f"b.mp4,{other},{other}", "c.mp4,fear,ben"]
    sources = _sources(write_labels("path,label,group", *lines), 2)
    assert [source.class_name for source in sources] == ["gêné été", "gêné été", "fear"]
    assert [source.group for source in sources] == ["gêné été", "gêné été", "ben"]
    assert sources[0].test_fold == sources[1].test_fold != sources[2].test_fold


@pytest.mark.parametrize("name", ["été.mp4", _decompose("été.mp4")])
def test_a_path_is_found_as_the_disk_spells_it(write_labels, name):
    for listed in ("été.mp4", _decompose("été.mp4")):
        root = write_labels("path,label", f"{listed},anger")
        (root / name).write_bytes(b"")
        (source,) = _sources(root, 1)
        assert (root / source.path).exists()
        assert (source.path, source.clip_id) == (name, name.removesuffix(".mp4"))


@pytest.mark.parametrize("word", ["nan", "NA", "None", "null", "NaN", "n/a", "-inf"])
def test_words_that_others_read_as_missing_are_classes(write_labels, word):
    lines = [f"{number}.mp4,{word},{word}" for number in range(4)]
    root = write_labels("path,label,group", *lines, "5.mp4,anger,p", "6.mp4,anger,q")
    listing = read_sources(root, Choices(num_folds=2))
    assert set(listing.class_names) == {word, "anger"}
    assert [source.group for source in listing.sources] == [word] * 4 + ["p", "q"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-8-sig"])
def test_a_list_in_another_encoding_is_read_by_its_mark(write_labels, encoding):
    text = "path,label\nété.mp4,joie\nb.mp4,peur\n"
    mark = "\ufeff" if encoding == "utf-16-be" else ""  # the others write one by themselves
    listing = read_sources(write_labels((mark + text).encode(encoding)), Choices(num_folds=1))
    assert [(source.path, source.class_name) for source in listing.sources] == [
        ("été.mp4", "joie"),
        ("b.mp4", "peur"),
    ]
