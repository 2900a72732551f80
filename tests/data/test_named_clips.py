"""RAVDESS, CREMA-D and eNTERFACE'05: clips by their names, from made-up archives and folders."""

import zipfile
from collections import Counter
from pathlib import Path

import pytest

from dfercli.data.sources import crema_d, enterface, ravdess
from dfercli.data.sources.base import Choices
from dfercli.data.sources.named_clips import unpack
from dfercli.errors import ConfigError, DataError

STUB = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 300000\n"


def _ravdess_names(modality="01", actors=range(1, 25), sung=False):
    """Yield the names of all clips: neutral is never strong; two classes are not sung."""
    for actor in actors:
        for emotion in range(1, 7 if sung else 9):
            for intensity in (1, 2) if emotion > 1 else (1,):
                for statement in (1, 2):
                    for repetition in (1, 2):
                        if not (sung and actor == 18):
                            numbers = (2 if sung else 1, emotion, intensity, statement, repetition)
                            middle = "-".join(f"{number:02d}" for number in (*numbers, actor))
                            yield f"Actor_{actor:02d}/{modality}-{middle}.mp4"


LACKING = {1002: 5, 1008: 5, 1009: 3, 1019: 6, 1076: 1}
"""Clips that CREMA-D lacks, by actor: made-up counts with the published sums. Which clips is not
known to us, so levels of anger are taken."""

ANGER = ("TIE", "IOM", "IWW", "TAI", "MTI", "IWL")


def _crema_names():
    for actor in range(1001, 1092):
        lacking = {f"{sentence}_ANG" for sentence in ANGER[: LACKING.get(actor, 0)]}
        for sentence in ("IEO", *ANGER, "ITH", "DFA", "ITS", "TSI", "WSI"):
            for emotion in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"):
                levels = ("LO", "MD", "HI") if sentence == "IEO" and emotion != "NEU" else ("XX",)
                if f"{sentence}_{emotion}" not in lacking:
                    yield from (f"{actor}_{sentence}_{emotion}_{level}.flv" for level in levels)


def _touch(root, names, content=b""):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _zip(path, names, content=b"video"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, content)


def _fold_sizes(listing):
    sizes = Counter(source.test_fold for source in listing.sources)
    return [sizes[fold] for fold in sorted(sizes)]


def test_ravdess_is_1440_clips_in_six_folds_of_four_actors(tmp_path):
    _touch(tmp_path, _ravdess_names())
    listing = ravdess.read_sources(tmp_path, Choices())
    assert _fold_sizes(listing) == [240] * 6
    labels = Counter(source.class_name for source in listing.sources)
    assert [labels[name] for name in listing.class_names] == [96, *[192] * 7]
    assert (listing.deviations, listing.remarks) == ((), ())
    people = {fold: set() for fold in range(1, 7)}
    for source in listing.sources:
        people[source.test_fold].add(int(source.group))
        assert source.traits == {"sex": "male" if int(source.group) % 2 else "female"}
    assert people == {k: set(range(4 * k - 3, 4 * k + 1)) for k in range(1, 7)}


def test_both_recordings_of_a_take_are_one_clip(tmp_path):
    _touch(tmp_path / "flat", [Path(name).name for name in _ravdess_names("02")])
    _touch(tmp_path / "nested" / "Video_Speech", _ravdess_names("01"))
    _touch(tmp_path / "audio", _ravdess_names("03", actors=[1]))
    listing = ravdess.read_sources(tmp_path, Choices())
    assert len(listing.sources) == 1440
    assert all(Path(source.path).name.startswith("01-") for source in listing.sources)
    assert "copies or other recordings of these ignored" in listing.taken[0]


def test_only_silent_recordings_are_as_good(tmp_path):
    _touch(tmp_path, _ravdess_names("02"))
    listing = ravdess.read_sources(tmp_path, Choices())
    assert (len(listing.sources), listing.deviations) == (1440, ())
    assert listing.sources[0].clip_id == "01-01-01-01-01-01"


def test_ravdess_is_read_from_its_archives_and_unpacked(tmp_path):
    for actor in range(1, 25):
        names = [*_ravdess_names("01", [actor]), *_ravdess_names("02", [actor])]
        _zip(tmp_path / f"Video_Speech_Actor_{actor:02d}.zip", names)
    listing = ravdess.read_sources(tmp_path, Choices())
    assert (len(listing.sources), listing.deviations) == (1440, ())
    assert "1,440 of them in archives" in listing.taken[0]
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]  # nothing is written yet
    written = list(unpack(tmp_path, listing.packed))
    assert sorted(written) == sorted(source.path for source in listing.sources)
    assert (tmp_path / written[0]).read_bytes() == b"video"
    again = ravdess.read_sources(tmp_path, Choices())
    assert again.sources == listing.sources
    # The other recordings are still in the archives; what was unpacked is no copy of itself.
    assert "1,440 copies or other recordings of these ignored" in listing.taken[0]
    assert "1,440 copies or other recordings of these ignored" in again.taken[0]
    assert not again.packed


def test_songs_are_a_choice_of_their_own(tmp_path):
    _touch(tmp_path / "speech", _ravdess_names(actors=[1]))
    _touch(tmp_path / "song", _ravdess_names(sung=True))
    listing = ravdess.read_sources(tmp_path, Choices(media="song"))
    assert (len(listing.sources), listing.deviations) == (1012, ())
    assert _fold_sizes(listing) == [176, 176, 176, 176, 132, 176]
    assert listing.class_names == ("neutral", "calm", "happiness", "sadness", "anger", "fear")
    assert listing.remarks == ("song instead of speech: not comparable with published results",)


def test_a_missing_actor_is_a_deviation(tmp_path):
    _touch(tmp_path, _ravdess_names(actors=range(1, 24)))
    listing = ravdess.read_sources(tmp_path, Choices())
    assert listing.deviations[0] == "fold 6 has 180 clips, officially 240"
    assert listing.deviations[1] == "class neutral has 92 clips, officially 96"
    assert len(listing.deviations) == 9


@pytest.mark.slow
def test_crema_d_has_five_folds_of_the_published_sizes(tmp_path):
    _touch(tmp_path / "VideoFlash", _crema_names())
    everything = crema_d.read_sources(tmp_path, Choices(media="all"))
    assert len(everything.sources) == 7442
    assert _fold_sizes(everything) == [1463, 1470, 1476, 1476, 1557]
    assert [mark for mark in everything.deviations if mark.startswith("fold")] == []
    listing = crema_d.read_sources(tmp_path, Choices())
    assert len(listing.sources) == 7437
    assert _fold_sizes(listing) == [1463, 1470, 1475, 1474, 1555]
    assert "left out: 1064_IEO_DIS_MD: a minute with all expressions" in listing.taken
    assert "58.2 %" in crema_d.OFFICIAL.notes[0]
    assert listing.remarks == ()
    assert "surprise" not in listing.class_names


def test_clips_in_folders_of_their_actors_are_found(tmp_path):
    _touch(tmp_path, ["1001/1001_DFA_ANG_XX.flv", "1001/1001_DFA_DIS_XX.flv"])
    assert len(crema_d.read_sources(tmp_path, Choices()).sources) == 2


def test_an_older_name_is_the_same_clip(tmp_path):
    _touch(tmp_path, ["VideoFlash/1040_ITH_SAD_X.flv", "mp4/1001_DFA_ANG_XX.mp4"])
    listing = crema_d.read_sources(tmp_path, Choices(media="all"))
    assert [s.clip_id for s in listing.sources] == ["1001_DFA_ANG_XX", "1040_ITH_SAD_XX"]


def test_the_actors_of_crema_d_have_age_sex_and_race(tmp_path):
    _touch(tmp_path, ["VideoFlash/1001_DFA_ANG_XX.flv", "VideoFlash/1002_DFA_ANG_XX.flv"])
    table = "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n"
    (tmp_path / "VideoDemographics.csv").write_text(table)
    first, second = crema_d.read_sources(tmp_path, Choices()).sources
    assert first.traits == {"sex": "male", "age": "51", "race": "caucasian"}
    assert second.traits == {}
    (tmp_path / "VideoDemographics.csv").write_text("Actor;Age\n1;2\n")
    with pytest.raises(DataError, match=r"VideoDemographics\.csv is not the published table"):
        crema_d.read_sources(tmp_path, Choices())


@pytest.mark.parametrize("known", [True, False])
def test_the_table_of_actors_is_read_from_an_archive(known, tmp_path):
    with zipfile.ZipFile(tmp_path / "CREMA-D.zip", "w") as archive:
        archive.writestr("CREMA-D/VideoFlash/1001_DFA_ANG_XX.flv", b"video")
        if known:
            table = "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n"
            archive.writestr("CREMA-D/VideoDemographics.csv", table)
    listing = crema_d.read_sources(tmp_path, Choices())
    traits = {"sex": "male", "age": "51", "race": "caucasian"}
    assert listing.sources[0].traits == (traits if known else {})
    assert listing.taken[-2] == (
        "people: sex, age and race from CREMA-D.zip/CREMA-D/VideoDemographics.csv"
        if known
        else "people: sex, age and race are unknown, as there is no VideoDemographics.csv"
    )


VOTES = """"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"
"100001",9,0,0,0,0,0,"1001_DFA_ANG_XX",9,1,"A"
"200001",2,3,0,0,5,0,"1001_DFA_ANG_XX",10,0.5,"N"
"200002",0,0,0,4,0,0,"1040_ITH_SAD_X",4,1,"H"
"300001",0,0,0,0,9,0,"1002_DFA_ANG_XX",9,1,"N"
"""


@pytest.mark.parametrize("packed", [False, True])
def test_votes_are_those_on_the_silent_videos(packed, tmp_path):
    names = ["1001_DFA_ANG_XX", "1002_DFA_ANG_XX", "1040_ITH_SAD_XX"]
    _touch(tmp_path, [f"VideoFlash/{name}.flv" for name in names])
    where = "processedResults/tabulatedVotes.csv"
    if packed:
        with zipfile.ZipFile(tmp_path / "CREMA-D.zip", "w") as archive:
            archive.writestr(where, VOTES)
        where = f"CREMA-D.zip/{where}"
    else:
        _touch(tmp_path, [where], VOTES.encode())
    listing = crema_d.read_sources(tmp_path, Choices(media="all"))
    anger, no_votes, sadness = (dict(source.votes) for source in listing.sources)
    letters = ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
    assert [anger[name] for name in letters] == [2, 3, 0, 0, 5, 0]
    assert [sadness[name] for name in letters] == [0, 0, 0, 4, 0, 0]
    assert no_votes == {}
    # 2 of 10 votes for anger, which the first clip shows, and none of 4 for sadness.
    assert listing.taken[-1] == (
        f"votes: on the silent videos of 2 clips, from {where}; 14.3% of them are for the "
        f"intended expression"
    )


def test_without_the_table_there_are_no_votes(tmp_path):
    _touch(tmp_path, ["VideoFlash/1001_DFA_ANG_XX.flv"])
    listing = crema_d.read_sources(tmp_path, Choices())
    assert listing.sources[0].votes == {}
    assert listing.taken[-1] == "votes: none, as there is no tabulatedVotes.csv"


@pytest.mark.parametrize(
    "content", [STUB, b"a,b\n1,2\n", VOTES.replace(",2,3,", ",2,x,").encode(), b"\xff\xfe\x00"]
)
def test_another_table_of_votes_is_refused(content, tmp_path):
    _touch(tmp_path, ["VideoFlash/1001_DFA_ANG_XX.flv"])
    _touch(tmp_path, ["tabulatedVotes.csv"], content)
    with pytest.raises(DataError, match=r"tabulatedVotes\.csv is not the published table of votes"):
        crema_d.read_sources(tmp_path, Choices())


@pytest.mark.parametrize("packed", [False, True])
def test_stubs_of_git_lfs_are_recognised(packed, tmp_path):
    names = [f"CREMA-D-master/VideoFlash/{name}" for name in list(_crema_names())[:20]]
    if packed:
        _zip(tmp_path / "CREMA-D-master.zip", names, STUB)
    else:
        _touch(tmp_path, names, STUB)
    with pytest.raises(DataError) as caught:
        crema_d.read_sources(tmp_path, Choices())
    said = str(caught.value)
    assert "1001_DFA_ANG_XX.flv" not in said
    assert "is a stub of Git LFS, not a video (20 of 20 are)" in said
    assert "git lfs pull" in said
    assert "\n" not in said


def _enterface_names():
    codes = {"anger": "an", "disgust": "di", "fear": "fe", "happiness": "ha", "sadness": "sa"}
    for person in [n for n in range(1, 45) if n != 6]:
        for emotion, code in (codes | {"surprise": "su"}).items():
            for sentence in range(1, 6):
                if not (person == 23 and emotion == "fear" and sentence > 2):
                    folder = f"enterface database/subject {person}/{emotion}/sentence {sentence}"
                    yield f"{folder}/s{person}_{code}_{sentence}.avi"


@pytest.mark.slow
def test_enterface_has_five_folds_of_the_published_sizes(tmp_path):
    _touch(tmp_path, [*_enterface_names(), "enterface database/subject 6/anger/s6_an_1.avi"])
    listing = enterface.read_sources(tmp_path, Choices())
    assert (len(listing.sources), listing.deviations) == (1287, ())
    assert _fold_sizes(listing) == [270, 270, 267, 270, 210]
    flat = tmp_path / "flat"
    _touch(flat, [Path(name).name for name in _enterface_names()])
    assert [s.clip_id for s in enterface.read_sources(flat, Choices()).sources] == [
        s.clip_id for s in listing.sources
    ]


@pytest.mark.parametrize("module", [ravdess, crema_d, enterface])
def test_what_cannot_be_read_is_one_line(module, tmp_path):
    with pytest.raises(DataError, match=r"no videos of .* their usual path is"):
        module.read_sources(tmp_path, Choices())
    with pytest.raises(ConfigError, match="remove --adopt"):
        module.read_sources(tmp_path, Choices(adopt=True))
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match=r"cannot read .*broken\.zip: .*; download it again"):
        module.read_sources(tmp_path, Choices())


def test_a_hostile_archive_writes_nothing_outside(tmp_path):
    _zip(tmp_path / "data" / "a.zip", ["../../01-01-03-01-01-01-01.mp4"])
    listing = ravdess.read_sources(tmp_path / "data", Choices())
    assert [source.path for source in listing.sources] == ["a/01-01-03-01-01-01-01.mp4"]
    list(unpack(tmp_path / "data", listing.packed))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("module", "clip_id"),
    [
        (ravdess, "01-03-02-01-01-12"),
        (crema_d, "1001_DFA_ANG_XX"),
        (enterface, "s07_anger_3"),
    ],
)
def test_folders_of_crops_are_recognised(module, clip_id):
    assert module.find_clip_id(f"faces-mtcnn-224/{clip_id}") == clip_id
    assert module.find_clip_id("faces-mtcnn-224/other") is None
