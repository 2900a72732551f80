"""Table 1 of the paper: its figures as printed, and what is known about each system.

Notes say where the printed figures differ from their sources, and why a counted cost differs from
the published one. Figures with two numbers are UAR/WAR in percent.
"""

from collections.abc import Mapping
from typing import Any

from dfercli.ablation.row import Published, Row, System
from dfercli.config.networks import explain_missing
from dfercli.errors import ConfigError, UnknownNameError

OFF: dict[str, Any] = {"interfit": False, "msta": False, "biehpro": False}
"""The baseline: our method without its modules."""

STATED, PARTLY, OURS, QUOTED = "stated", "partly", "our choice", "cannot be built"
"""How far a network or a recipe is that of the paper or of the authors' code."""

DATASETS = {"dfew": "DFEW", "ferv39k": "FERV39k", "mafw": "MAFW"}
"""The paper's spelling of the kinds of datasets that it has figures for."""

CHANGED = ", changed"
"""After one of these, if the user chose other settings."""

Figures = tuple[float, float] | None

SOURCES = {
    "paper": "this paper, Tables 2 and 3",
    "M3DFEL": "comparison table of M3DFEL (Wang et al., 2023)",
    "MAE-DFER": "comparison tables of MAE-DFER (Sun et al., 2023)",
    "later tables": "comparison tables of later papers; the first of them is not known",
    "SurveyFER": "comparison table of the survey of Wang et al., 2024",
    "torchvision": "documentation of torchvision, for 400 classes",
}
"""Who printed the costs."""


def _system(
    title: str,
    name: str,
    dfew: Figures,
    ferv39k: Figures,
    mafw: Figures,
    network: str,
    recipe: str = "",
    cost: tuple[float | None, float | None, str] | None = None,
    result_note: str = "",
    cost_note: str = "",
    changes: Mapping[str, Any] | None = None,
    in_paper: bool = True,
) -> Row:
    figures = {"dfew": dfew, "ferv39k": ferv39k, "mafw": mafw}
    return Row(
        title,
        {"method": name} if changes is None else changes,
        {kind: values for kind, values in figures.items() if values is not None},
        system=System(
            name,
            network,
            recipe,
            None if cost is None else Published(*cost),
            result_note,
            cost_note,
            in_paper,
        ),
    )


_NORMS = "the counting tool adds norms, activations and pooling"
_SHORT = "the authors' loader drops test clips of fewer than 16 frames; here none is dropped"

SYSTEMS = (
    _system(
        "C3D",
        "c3d",
        (42.74, 53.54),
        (22.68, 31.69),
        (31.17, 42.25),
        STATED,
        PARTLY,
        (78, 38.57, "MAE-DFER"),
        cost_note="38.57 is our count and one addition of the bias per output",
    ),
    _system(
        "P3D",
        "p3d",
        (43.97, 54.47),
        (23.20, 33.39),
        None,
        STATED,
        PARTLY,
        result_note="FERV39k is 30.48/40.81 in the tables of MAE-DFER and SVFAP; the source of "
        "either is not known",
        cost_note="P3D-63 at 160 px, as in the code of the DFEW paper; the original is P3D-199",
    ),
    _system(
        "I3D-RGB",
        "i3d",
        (43.40, 54.27),
        (30.17, 38.78),
        None,
        STATED,
        PARTLY,
        (12, 6.99, "M3DFEL"),
        cost_note=f"{_NORMS}; 12 M are from FERV39k",
    ),
    _system(
        "3D ResNet18",
        "r3d-hara",
        (46.52, 58.27),
        (26.67, 37.57),
        None,
        STATED,
        PARTLY,
        (33, 8.32, "later tables"),
        result_note="DFEW is a later run with sampling in segments; the DFEW paper has 44.73/54.98",
        cost_note=f"{_NORMS}; the network is that of Hara et al., not torchvision's r3d_18",
    ),
    _system(
        "R(2+1)D18",
        "r2plus1d",
        (42.79, 53.22),
        (31.55, 41.28),
        None,
        STATED,
        OURS,
        (33, 42.36, "later tables"),
        result_note="DFEW is the row R3D18 of the DFEW paper, which has no R(2+1)D",
        cost_note=f"{_NORMS}; torchvision's network has fewer channels (40.52 G)",
    ),
    _system(
        "ResNet18-LSTM",
        "resnet18-lstm",
        (51.32, 63.85),
        (30.92, 42.95),
        (28.08, 39.38),
        PARTLY,
        OURS,
        (None, 7.78, "later tables"),
        result_note="the WAR on FERV39k is 42.59 in the model zoo of FERV39k (digits swapped); "
        "DFEW is a later run, the DFEW paper has 42.86/53.08",
        cost_note="no source describes the LSTM; two layers of 256 fit the published cost",
    ),
    _system(
        "ResNet18-ViT",
        "resnet18-vit",
        (55.76, 66.56),
        (38.35, 48.43),
        (35.80, 47.72),
        PARTLY,
        OURS,
        result_note="the WAR on DFEW is 67.56 in the table of DFER-CLIP, the earliest with this "
        "row",
        cost_note="no source describes the transformer; it is that of Former-DFER",
    ),
    _system(
        "EC-STFL",
        "ec-stfl",
        (45.35, 56.51),
        None,
        None,
        STATED,
        PARTLY,
        (None, 8.32, "later tables"),
        result_note="printed for C3D, P3D and others; 45.35/56.51 is 3D ResNet18 with this loss, "
        "C3D with it has 45.10/55.50",
        cost_note="a loss, which costs nothing in a test: the cost is that of 3D ResNet18",
    ),
    _system(
        "Former-DFER",
        "former-dfer",
        (53.69, 65.70),
        (37.20, 46.85),
        (31.16, 43.27),
        STATED,
        STATED,
        (18, 9.11, "later tables"),
        result_note="FERV39k is 36.88/45.72 on the page of its code, which keeps the best epoch on "
        "the test fold",
        cost_note="9.11 G fit three spatial layers (--spatial-layers 3: 9.10 G, 19.08 M), 18 M "
        "the single one of the code",
    ),
    _system(
        "DPCNet",
        "dpcnet",
        (57.11, 66.32),
        None,
        None,
        QUOTED,
        "",
        (51, 9.52, "later tables"),
        result_note="only quoted: its modules and sizes are not public; the UAR on DFEW is 55.02 "
        "in the table of M3DFEL",
    ),
    _system(
        "T-ESFL",
        "t-esfl",
        (57.11, 66.32),
        None,
        (33.28, 48.18),
        PARTLY,
        OURS,
        result_note="DFEW repeats the row of DPCNet; its paper has results on MAFW only",
        cost_note="built and trained as EST, as no code is public",
    ),
    _system(
        "EST",
        "est",
        (53.94, 65.85),
        None,
        None,
        STATED,
        PARTLY,
        (43, None, "MAE-DFER"),
        result_note="the mean of its seven published recalls is a UAR of 53.43, as in MAE-DFER",
        cost_note="35 frames of 224 px; 8.4 M are the head of the order, for training only",
    ),
    _system(
        "Freq-HD",
        "freq-hd",
        (46.85, 55.68),
        (33.07, 45.26),
        None,
        PARTLY,
        OURS,
        result_note="the best of several networks; with ResNet18 it has 44.24/54.98 on DFEW and "
        "32.24/43.93 on FERV39k",
        cost_note="a choice of frames, here for ResNet18-LSTM, whose cost this is",
    ),
    _system(
        "LOGO-Former",
        "logo-former",
        (54.21, 66.98),
        (38.22, 48.13),
        None,
        OURS,
        PARTLY,
        (None, 10.27, "later tables"),
        cost_note="widths and windows are our choice such that all products are 10.27 G",
    ),
    _system(
        "IAL",
        "ial",
        (55.71, 69.24),
        (35.82, 48.54),
        None,
        STATED,
        PARTLY,
        (19, 9.63, "MAE-DFER"),
        result_note=_SHORT,
        cost_note="9.63 G are not reached: the code takes 5.94 G, as it runs each transformer "
        "twice; here each runs once",
    ),
    _system(
        "AEN",
        "aen",
        (56.66, 69.37),
        (38.18, 47.88),
        None,
        STATED,
        PARTLY,
        result_note=f"{_SHORT}; its code also chooses the shares of two heads on the test set",
        cost_note="13.7 M are parts of the code without effect or the frozen teacher; the code "
        "runs some of them, 7.59 G in all",
    ),
    _system(
        "M3DFEL",
        "m3dfel",
        (56.10, 69.25),
        (35.94, 47.67),
        None,
        STATED,
        STATED,
        (None, 1.65, "M3DFEL"),
        result_note="its code draws the test frames at random, and keeps the best UAR and the best "
        "WAR of different epochs",
        cost_note="1.65 G leave out the 3D convolutions, which the profiler did not recognise",
    ),
    _system(
        "MSCM",
        "mscm",
        (58.49, 70.16),
        None,
        None,
        QUOTED,
        "",
        (None, 8.11, "SurveyFER"),
        result_note="only quoted: the sizes of its correlation module are not public",
    ),
    _system(
        "T-MEP",
        "t-mep",
        (57.16, 68.85),
        None,
        (39.37, 52.85),
        QUOTED,
        "",
        (None, 6, "SurveyFER"),
        result_note="only quoted: its definition is not public; on MAFW it uses sound and captions "
        "besides the faces",
    ),
    _system(
        "CLIPER",
        "cliper",
        (57.56, 70.84),
        (41.23, 51.34),
        None,
        PARTLY,
        PARTLY,
        (88, None, "SurveyFER"),
        cost_note="16 frames are our choice; trained is the image tower alone, in the second stage",
    ),
    _system(
        "DFER-CLIP",
        "dfer-clip",
        (59.61, 71.25),
        (41.27, 51.65),
        (39.89, 52.55),
        STATED,
        PARTLY,
    ),
    _system(
        "LSTPNet",
        "lstpnet",
        (60.18, 71.16),
        (40.63, 50.07),
        None,
        STATED,
        OURS,
        result_note=f"{_SHORT}; these are 813 of 7,847 on FERV39k",
        cost_note="16 frames of 224 px",
    ),
    _system(
        "Baseline",
        "baseline",
        (58.28, 69.96),
        (39.52, 49.80),
        (39.13, 52.31),
        STATED,
        STATED,
        (None, 23.58, "paper"),
        changes=OFF,
    ),
    _system(
        "Ours",
        "ours",
        (60.85, 72.58),
        (41.43, 51.83),
        (41.06, 54.38),
        STATED,
        STATED,
        (None, 24.71, "paper"),
        changes={},
    ),
    _system(
        "r3d_18",
        "r3d-18",
        None,
        None,
        None,
        STATED,
        PARTLY,
        (33.37, 40.70, "torchvision"),
        cost_note="the parameters differ by the classes",
        in_paper=False,
    ),
    _system(
        "mc3_18",
        "mc3-18",
        None,
        None,
        None,
        STATED,
        PARTLY,
        (11.70, 43.34, "torchvision"),
        cost_note="the parameters differ by the classes",
        in_paper=False,
    ),
    _system(
        "r2plus1d_18",
        "r2plus1d-18",
        None,
        None,
        None,
        STATED,
        PARTLY,
        (31.51, 40.52, "torchvision"),
        cost_note="the parameters differ by the classes",
        in_paper=False,
    ),
)
"""The rows as printed, and below them those of torchvision, which are not in the paper."""


def choose_rows(models: str) -> tuple[Row, ...]:
    """Return the rows of some systems, by names separated by commas, in the order of the table.

    Raises:
        ConfigError: There is no name, or a system cannot be built.
        UnknownNameError: There is no such system.
    """
    names = [name.strip() for name in models.split(",") if name.strip()]
    known = {row.system.name: row for row in SYSTEMS if row.system and row.can_be_trained}
    if not names:
        raise ConfigError(f"--models has no names; known: {', '.join(known)}")
    for name in names:
        explain_missing(name)
        if name not in known:
            raise UnknownNameError("model", name, known)
    return tuple(row for name, row in known.items() if name in names)
