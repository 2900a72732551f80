"""Table 1: its figures as printed, the costs of its systems, and their runs in one table."""

import json
from dataclasses import replace

import pytest

from dfercli.ablation.paper_tables import STILL_IMAGE, table_rows
from dfercli.ablation.plan import describe_reading, has_own_size, list_unaffected, plan_rows
from dfercli.ablation.run import ablation_document, cost_document, cost_table, run_table
from dfercli.ablation.table1 import SOURCES, SYSTEMS, choose_rows
from dfercli.config import NETWORKS, DataConfig, ModelConfig, RunConfig
from dfercli.config.networks import MISSING
from dfercli.config.presets import apply_preset
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.errors import ConfigError, UnknownNameError
from dfercli.models.flops import measure_cost
from dfercli.tables import FORMATS, render

PRINTED = """
C3D 42.74 53.54 22.68 31.69 31.17 42.25
P3D 43.97 54.47 23.20 33.39 - -
I3D-RGB 43.40 54.27 30.17 38.78 - -
3D ResNet18 46.52 58.27 26.67 37.57 - -
R(2+1)D18 42.79 53.22 31.55 41.28 - -
ResNet18-LSTM 51.32 63.85 30.92 42.95 28.08 39.38
ResNet18-ViT 55.76 66.56 38.35 48.43 35.80 47.72
EC-STFL 45.35 56.51 - - - -
Former-DFER 53.69 65.7 37.20 46.85 31.16 43.27
DPCNet 57.11 66.32 - - - -
T-ESFL 57.11 66.32 - - 33.28 48.18
EST 53.94 65.85 - - - -
Freq-HD 46.85 55.68 33.07 45.26 - -
LOGO-Former 54.21 66.98 38.22 48.13 - -
IAL 55.71 69.24 35.82 48.54 - -
AEN 56.66 69.37 38.18 47.88 - -
M3DFEL 56.10 69.25 35.94 47.67 - -
MSCM 58.49 70.16 - - - -
T-MEP 57.16 68.85 - - 39.37 52.85
CLIPER 57.56 70.84 41.23 51.34 - -
DFER-CLIP 59.61 71.25 41.27 51.65 39.89 52.55
LSTPNet 60.18 71.16 40.63 50.07 - -
Baseline 58.28 69.96 39.52 49.80 39.13 52.31
Ours 60.85 72.58 41.43 51.83 41.06 54.38
"""
"""The paper's Table 1: UAR and WAR on DFEW, FERV39k and MAFW."""

COUNTS = {
    "c3d": (78_029_959, 78_029_959, 38_546_993_152, 38_546_993_152),
    "p3d": (24_939_975, 24_939_975, 8_441_051_136, 8_441_051_136),
    "i3d": (12_294_439, 12_294_439, 6_982_557_696, 6_982_557_696),
    "r3d-hara": (33_033_671, 33_033_671, 8_296_074_752, 8_296_074_752),
    "r2plus1d": (33_182_188, 33_182_188, 42_142_474_752, 42_142_474_752),
    "resnet18-lstm": (12_493_127, 12_493_127, 7_778_535_168, 7_778_535_168),
    "resnet18-vit": (17_493_063, 17_493_063, 7_864_520_192, 7_865_408_000),
    "ec-stfl": (33_033_671, 33_033_671, 8_296_074_752, 8_296_074_752),
    "former-dfer": (18_031_943, 18_031_943, 8_275_561_984, 8_296_118_784),
    "t-esfl": (41_199_825, 42_779_345, 63_597_928_896, 63_598_280_128),
    "est": (41_199_825, 42_779_345, 63_597_928_896, 63_598_280_128),
    "freq-hd": (12_493_127, 12_493_127, 7_778_535_168, 7_778_535_168),
    "logo-former": (9_113_927, 9_113_927, 10_150_938_368, 10_269_492_992),
    "ial": (18_802_119, 19_083_527, 5_621_882_880, 5_623_964_160),
    "aen": (39_260_498, 52_912_317, 7_376_651_888, 7_380_544_624),
    "m3dfel": (46_823_384, 46_823_384, 43_191_454_720, 43_191_487_488),
    "cliper": (86_192_640, 149_692_417, 180_332_003_328, 294_279_495_680),
    "dfer-clip": (89_984_256, 153_412_353, 23_586_668_544, 42_219_701_248),
    "lstpnet": (24_619_686, 24_619_686, 32_915_295_744, 32_915_820_032),
    "baseline": (87_849_217, 151_277_313, 23_577_231_360, 35_270_492_160),
    "ours": (261_886_741, 325_314_837, 24_712_321_024, 36_768_552_960),
    "r3d-18": (33_169_863, 33_169_863, 40_696_352_256, 40_696_352_256),
    "mc3-18": (11_493_831, 11_493_831, 43_342_433_792, 43_342_433_792),
    "r2plus1d-18": (31_303_716, 31_303_716, 40_518_879_744, 40_518_879_744),
}
"""Parameters, trained and in all, and multiply-accumulates, by the paper's rule and in truth."""

QUICK = {"width": 0.125, "image_size": 48}
DATA = DataConfig(dataset="d", manifest="", root="")


def _base(preset="paper", **changes):
    run = RunConfig(data=DATA, fold=1, preset=preset, model=ModelConfig(**changes))
    return apply_preset(run, set(changes))


def _entries(names, *arguments):
    entries = cost_table(choose_rows(names), _base(), BASIC_EXPRESSIONS, *arguments)
    return {entry["model"]: entry for entry in entries}


def test_the_figures_are_those_that_are_printed():
    printed = [line.rsplit(" ", 6) for line in PRINTED.strip().splitlines()]
    rows = [row for row in SYSTEMS if row.system.in_paper]
    assert [row.name for row in rows] == [name for name, *_ in printed]
    for row, (_, *cells) in zip(rows, printed, strict=True):
        figures = [row.paper.get(kind, (None, None)) for kind in ("dfew", "ferv39k", "mafw")]
        ours = [value for pair in figures for value in pair]
        assert ours == [None if cell == "-" else float(cell) for cell in cells], row.name


def test_every_network_is_a_row_and_what_cannot_be_built_is_only_quoted():
    trained = [row.system.name for row in SYSTEMS if row.can_be_trained]
    assert set(trained) == {*NETWORKS, "dfer-clip", "baseline", "ours"}
    assert {row.system.name for row in SYSTEMS if not row.can_be_trained} == set(MISSING)
    assert len({row.name for row in SYSTEMS}) == len(SYSTEMS) == len(trained) + len(MISSING)
    assert table_rows(1) == SYSTEMS


def test_rows_are_chosen_by_names():
    assert [row.name for row in choose_rows("ours, ial,ial")] == ["IAL", "Ours"]
    with pytest.raises(UnknownNameError, match=r"^no model 'ila'; known: c3d, p3d, .*ours"):
        choose_rows("ours,ila")
    with pytest.raises(ConfigError, match=r"^--models has no names; known: c3d, p3d"):
        choose_rows(",")
    with pytest.raises(ConfigError, match=r"^no model mscm: the sizes of its correlation module"):
        choose_rows("mscm")


@pytest.mark.parametrize("name", COUNTS)
def test_costs_are_exact_integers(name):
    (run,) = plan_rows(choose_rows(name), _base(), BASIC_EXPRESSIONS)
    cost = measure_cost(run.model, BASIC_EXPRESSIONS)
    assert (cost.trainable, cost.total, cost.paper_macs, cost.true_macs) == COUNTS[name]


def test_counts_and_published_numbers_agree_where_the_notes_say_so():
    rule = {name: counts[2] / 1e9 for name, counts in COUNTS.items()}
    published = {row.system.name: row.system.published for row in SYSTEMS}
    for name in ("i3d", "r3d-hara", "resnet18-lstm", "ec-stfl", "baseline", "ours"):
        assert rule[name] == pytest.approx(published[name].gflops, rel=0.004), name
    assert rule["r2plus1d"] == pytest.approx(published["r2plus1d"].gflops, rel=0.006)
    for name in ("r3d-18", "mc3-18", "r2plus1d-18"):
        assert round(rule[name], 2) == published[name].gflops
        classes = 393 * 513 / 1e6  # 400 in the documentation, 7 here
        assert COUNTS[name][1] / 1e6 + classes == pytest.approx(
            published[name].parameters, abs=0.005
        )
    for name in ("c3d", "i3d", "r3d-hara", "r2plus1d", "former-dfer", "est", "ial"):
        assert round(COUNTS[name][1] / 1e6) == published[name].parameters
    assert round(COUNTS["logo-former"][3] / 1e9, 2) == published["logo-former"].gflops
    assert {p.source for p in published.values() if p} == set(SOURCES)


def test_c3d_is_the_published_number_with_one_addition_per_output():
    outputs = 16 * 112**2 * 64 + 16 * 56**2 * 128 + 8 * 28**2 * 2 * 256
    outputs += 4 * 14**2 * 2 * 512 + 2 * 7**2 * 2 * 512 + 2 * 4096 + 7
    assert round((COUNTS["c3d"][2] + outputs) / 1e9, 2) == 38.57


def test_three_spatial_layers_are_the_published_cost_of_former_dfer():
    entry = _entries("former-dfer", {"spatial_layers"}, {"spatial_layers": 3})["former-dfer"]
    assert f"{entry['paper_convention_gmacs']:.2f}" == "9.10"
    assert f"{entry['total_parameters'] / 1e6:.2f}" == "19.08"
    assert entry["network"] == "stated, changed"
    assert entry["published_gflops"] is None  # for the settings of the paper only


def test_the_broken_rule_is_shown_as_such():
    entries = _entries("m3dfel,c3d")
    assert f"{entries['m3dfel']['exact_type_gmacs']:.2f}" == "1.66"
    assert "exact_type_gmacs" not in entries["c3d"]
    document = cost_document("Table 1", ModelConfig(), list(entries.values()))
    (note,) = [note for note in document.tables[0].notes if "exact types" in note]
    assert note.startswith("M3DFEL: ")
    assert note.endswith(": 1.66 G")


@pytest.mark.slow
def test_the_costs_of_all_rows_are_one_document_in_every_format():
    entries = cost_table(SYSTEMS, _base(), BASIC_EXPRESSIONS)
    assert [entry["row"] for entry in entries] == [row.name for row in SYSTEMS]
    document = cost_document("Table 1", ModelConfig(), entries)
    costs, settings = document.tables
    by_name = {row[0]: row for row in costs.rows}
    assert by_name["DPCNet"] == ["DPCNet", None, None, None, None, 51, 9.52, "later tables"]
    assert {row[0]: row[5] for row in settings.rows}["DPCNet"] == "cannot be built"
    assert not any("changed" in str(row) for row in settings.rows)
    for row in SYSTEMS:
        if row.system.cost_note:
            assert f"{row.name}: {row.system.cost_note}" in costs.notes
    for name in FORMATS[1:]:
        assert "LOGO-Former" in render(document, name)


@pytest.mark.parametrize("preset", ["paper", "small", "strong"])
@pytest.mark.parametrize("name", [name for name in COUNTS if name not in ("baseline", "ours")])
def test_a_row_is_the_run_that_train_gives(name, preset):
    (row,) = choose_rows(name)
    alone = RunConfig(data=DATA, fold=1, preset=preset, model=ModelConfig(method=name))
    assert row.plan(_base(preset)) == apply_preset(alone)


def test_settings_of_the_user_apply_where_they_fit():
    rows = choose_rows("former-dfer,ial,cliper,baseline")
    typed = {*QUICK, "stage1_epochs", "mixup", "backbone", "lr"}
    base = _base("small", backbone="demo-ViT-tiny", weights="random")
    train = replace(base.train, stage1_epochs=1, mixup=0.5, lr=0.5)
    base = replace(base, train=train)
    former, ial, cliper, baseline = plan_rows(rows, base, BASIC_EXPRESSIONS, typed, QUICK)
    assert {(run.model.width, run.model.image_size) for run in (former, ial)} == {(0.125, 48)}
    assert {(run.model.width, run.model.image_size) for run in (cliper, baseline)} == {(1.0, 0)}
    runs = (former, ial, cliper, baseline)
    assert [run.train.stage1_epochs for run in runs] == [0, 0, 1, 0]
    assert [run.train.mixup for run in runs] == [0.5, 0, 0, 0.5]
    assert {run.train.lr for run in runs} == {0.5}
    assert [run.model.backbone for run in runs] == [ModelConfig.backbone] * 2 + [
        "demo-ViT-tiny"
    ] * 2
    assert list_unaffected(rows, base, typed, QUICK) == [
        "--backbone does not affect Former-DFER, IAL",
        "--image-size does not affect CLIPER, Baseline",
        "--mixup does not affect IAL, CLIPER",
        "--stage1-epochs affects only CLIPER",
        "--width does not affect CLIPER, Baseline",
    ]


def test_settings_that_the_recipe_of_a_row_does_not_use_are_told_apart():
    rows = choose_rows("former-dfer,est,baseline,ours")
    base = _base()
    typed = {"step_factor", "min_lr"}
    plan_rows(rows, base, BASIC_EXPRESSIONS, typed)
    assert list_unaffected(rows, base, typed) == [
        "--min-lr does not affect Former-DFER",
        "--step-factor affects only Former-DFER",
    ]
    changed = replace(base, train=replace(base.train, min_lr=1e-8))
    runs = plan_rows(rows, changed, BASIC_EXPRESSIONS, {"min_lr"})
    recipes = [describe_reading(row, run)["recipe"] for row, run in zip(rows, runs, strict=True)]
    assert recipes == ["stated", "partly, changed", "stated, changed", "stated, changed"]
    for choice, name, reason in (
        ("baseline,ours", "step_factor", "--schedule cosine"),
        ("former-dfer", "adam_eps", "--optimizer sgd"),
    ):
        with pytest.raises(ConfigError) as caught:
            plan_rows(choose_rows(choice), base, BASIC_EXPRESSIONS, {name})
        option = "--" + name.replace("_", "-")
        message = f"{option} has no effect on any row of this table with {reason}; remove it"
        assert str(caught.value) == message


def test_a_row_that_trains_nothing_uses_no_setting_of_the_training():
    rows = (*table_rows(5), STILL_IMAGE)
    base = _base()
    base = replace(base, train=replace(base.train, optimizer="sgd"))
    plan_rows(rows, base, BASIC_EXPRESSIONS, {"optimizer", "val_fraction"})
    with pytest.raises(ConfigError, match="--adam-eps has no effect on any row of this table"):
        plan_rows(rows, base, BASIC_EXPRESSIONS, {"optimizer", "adam_eps"})
    assert list_unaffected(rows, base, {"optimizer", "val_fraction"}) == [
        "--optimizer does not affect zero-shot CLIP, still-image baseline"
    ]


def test_all_rows_that_settings_do_not_fit_are_listed_at_once():
    rows = choose_rows("c3d,former-dfer,est,m3dfel,baseline")
    base = _base(num_frames=6)
    with pytest.raises(ConfigError) as caught:
        plan_rows(rows, base, BASIC_EXPRESSIONS, {"num_frames"})
    assert str(caught.value) == (
        "3 of 5 rows cannot be trained with these settings: former-dfer (sampling 8x2 gives 16 "
        "frames, but num_frames is 6; change one of them); est (sampling snippets gives 7 times "
        "the same number of frames, up to 15, but num_frames is 6; use 35); m3dfel (num_frames is "
        "6; m3dfel needs a multiple of 4); change the settings, or train the others with --models "
        "c3d,baseline"
    )
    with pytest.raises(ConfigError, match=r"^sampling 8x2 gives 16 frames, but num_frames is 6"):
        plan_rows(choose_rows("former-dfer"), base, BASIC_EXPRESSIONS, {"num_frames"})


def test_weights_that_rows_cannot_take_are_refused_by_row():
    rows = choose_rows("c3d,p3d,resnet18-lstm,m3dfel,baseline")
    base = _base(weights="imagenet")
    with pytest.raises(ConfigError) as caught:
        plan_rows(rows, base, BASIC_EXPRESSIONS, {"weights"}, with_weights=True)
    assert str(caught.value) == (
        "4 of 5 rows cannot be trained with these settings: c3d, p3d (takes --weights random, not "
        "'imagenet'); m3dfel (takes --weights kinetics400, random, not 'imagenet'); baseline "
        "(imagenet are not weights of CLIP); change the settings, or train the others with "
        "--models resnet18-lstm"
    )
    runs = plan_rows(rows, _base(weights="random"), BASIC_EXPRESSIONS, {"weights"}, None, True)
    assert {run.model.weights for run in runs} == {"random"}


def test_a_setting_that_no_row_has_is_refused():
    for table, name in ((2, "width"), (3, "stage1_epochs")):
        option = name.replace("_", "-")
        with pytest.raises(ConfigError, match=f"^--{option} has no effect on any row"):
            plan_rows(table_rows(table), _base(), BASIC_EXPRESSIONS, {name})
    with pytest.raises(ConfigError, match=r"^--backbone has no effect on any row"):
        plan_rows(choose_rows("c3d,ial"), _base(), BASIC_EXPRESSIONS, {"backbone"})


def test_the_size_of_a_paper_does_not_depend_on_the_kind_of_its_activation():
    (row,) = choose_rows("baseline")
    assert has_own_size(row, _base(backbone="ViT-B-32"))
    assert not has_own_size(row, _base("strong"))


@pytest.mark.slow
def test_rows_are_trained_and_printed_beside_those_that_fail_or_are_quoted(make_run, tmp_path):
    base = replace(make_run(epochs=1, warmup_epochs=0), preset="small")
    in_the_way = tmp_path / "colours" / "ial" / "fold1"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    rows = [row for row in SYSTEMS if row.system.name in ("former-dfer", "ial", "mscm", "baseline")]
    typed = {"epochs", "warmup_epochs", "weights", *QUICK}
    ablation = run_table(rows, base, [1], tmp_path, typed=typed, reads=QUICK)
    assert [bool(r.summaries["last"]) for r in ablation.rows] == [True, False, False, True]
    document = ablation_document("Table 1", ablation, ["a note"])
    measured, gains, settings, printed = document.tables
    assert document.provenance["rows"] == "PARTIAL: failed runs of IAL"
    assert [row[0] for row in gains.rows] == ["Former-DFER", "IAL", "MSCM"]
    assert measured.rows[2][-2:] == pytest.approx([0.7016, 0.5849])
    assert "measured on other data than the paper's: not comparable" in measured.notes
    by_name = {row[0]: row[1:] for row in settings.rows}
    own = ["16 x 48", "8x2", "random", 1, "stated, changed", "stated, changed"]
    assert by_name["Former-DFER"] == own
    assert by_name["MSCM"] == [None, None, None, None, "cannot be built", None]
    assert "a note" in settings.notes
    assert printed.rows[0][1:3] == pytest.approx([0.5369, 0.657])
    assert any(note.startswith("MSCM: only quoted") for note in printed.notes)
    for name in FORMATS[1:]:
        assert render(document, name)
    data = json.loads(render(document, "json"))["data"]["rows"]
    assert [row["model"] for row in data] == ["former-dfer", "ial", "mscm", "baseline"]
    assert data[0]["settings"].startswith("small, of former-dfer: ")


def test_without_the_baseline_no_gains_are_printed(make_run, tmp_path):
    base = replace(make_run(epochs=1, warmup_epochs=0), preset="small")
    typed = {"epochs", "warmup_epochs", "weights", *QUICK}
    ablation = run_table(
        choose_rows("c3d"), base, [1], tmp_path, typed=typed, reads=QUICK, class_names="abc"
    )
    titles = [table.title for table in ablation_document("Table 1", ablation).tables]
    assert titles == ["Table 1", "settings of each row", "Table 1 as printed"]
