"""A row of a table: a variant of our method, or another system, and what is published about it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from dfercli.config import (
    METHODS,
    NETWORKS,
    ONLY_PROMPTS,
    PARTS,
    STAGED,
    STILL_IMAGE,
    WITH_LOSSES,
    WITHOUT_CLIP,
    ModelConfig,
    RunConfig,
    TrainConfig,
    to_dict,
)
from dfercli.config.model import OF_NETWORKS
from dfercli.config.networks import MISSING, ON_CLIP
from dfercli.config.presets import WITHOUT_BLOCKS, apply_method


@dataclass(frozen=True)
class Published:
    """A published cost: parameters in millions, GFLOPs, and who printed them."""

    parameters: float | None
    gflops: float | None
    source: str


@dataclass(frozen=True)
class System:
    """What is known about a row of Table 1.

    `name` is that of `--models`. `network` and `recipe` say how far they are those of the paper:
    `stated`, `partly` or `our choice`. The notes are on the printed results and on the cost.
    """

    name: str
    network: str
    recipe: str = ""
    published: Published | None = None
    result_note: str = ""
    cost_note: str = ""
    in_paper: bool = True


@dataclass(frozen=True)
class Row:
    """One row of a table: a variant of our method, or another method.

    `changes` are settings that differ from the full model; `paper` has the paper's UAR and WAR in
    percent by kind of dataset. GFLOPs are in the paper's own convention; None if it gives none.
    `system` is None outside Table 1.
    """

    name: str
    changes: Mapping[str, Any]
    paper: Mapping[str, tuple[float, float]]
    paper_gflops: float | None = None
    system: System | None = None

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.changes.get("method", ModelConfig.method))

    @property
    def can_be_trained(self) -> bool:
        """Whether the system can be built; if not, its results are only quoted."""
        return self.method not in MISSING

    def apply(self, full: ModelConfig) -> ModelConfig:
        """Return the row's model.

        Other methods drop the settings of our modules, and a row without MSTA drops `msta_fc`, so
        that it is one run whatever the rows with MSTA use.
        """
        settings = to_dict(full)
        if "method" in self.changes:
            settings = {name: value for name, value in settings.items() if name not in PARTS}
        elif not self.changes.get("msta", full.msta):
            del settings["msta_fc"]
        return ModelConfig(**settings | dict(self.changes))

    def plan(
        self, base: RunConfig, typed: Collection[str] = (), reads: Mapping[str, Any] | None = None
    ) -> RunConfig:
        """Return the row's run: the base run with the row's model, and the recipe of its method.

        Args:
            base: The run of the full model.
            typed: Settings of the user. They take precedence over those of the method if they
                affect it, and are dropped if they do not.
            reads: Values of those in `READING`, which the base run lacks.
        """
        unfit = {name for name in typed if not self.affected_by(name)}
        model = replace(base.model, **_defaults(ModelConfig, unfit))
        train = replace(base.train, **_defaults(TrainConfig, unfit))
        run = apply_method(replace(base, model=self.apply(model), train=train), set(typed) - unfit)
        changes = {name: value for name, value in (reads or {}).items() if name not in unfit}
        return replace(run, model=replace(run.model, **changes))

    def affected_by(self, setting: str) -> bool:
        """Return whether a setting can affect the row."""
        return setting not in ONLY_FOR or self.method in ONLY_FOR[setting]


READING = ("sampling", *OF_NETWORKS)
"""Settings of networks that our method, the base of all rows, does not have or has otherwise."""

_SIZED = tuple(name for name in NETWORKS if name not in ON_CLIP)
_WITH_CLIP = tuple(name for name in METHODS if name not in WITHOUT_CLIP)
ONLY_FOR: Mapping[str, Collection[str]] = {
    "image_size": _SIZED,
    "width": _SIZED,
    "spatial_layers": ("former-dfer",),
    "stage_blocks": ("ial",),
    "stage1_epochs": STAGED,
    "stage1_lr": STAGED,
    "mixup": tuple(name for name in METHODS if name not in (*WITH_LOSSES, "ec-stfl")),
    "ec_stfl": tuple(name for name in METHODS if name not in ("aen", *ONLY_PROMPTS)),
    **dict.fromkeys(("backbone", "prompt_template", *WITHOUT_BLOCKS), _WITH_CLIP),
    **dict.fromkeys(("lora_rank", "lora_on"), _WITH_CLIP),
    **dict.fromkeys(("sampling", "pixels"), tuple(name for name in METHODS if name != STILL_IMAGE)),
    **dict.fromkeys(PARTS, (ModelConfig.method,)),
}
"""The methods that a setting can affect, if not all."""


def _defaults(config: Any, names: Collection[str]) -> dict[str, Any]:
    """Return the defaults of those settings that a configuration has."""
    return {setting.name: setting.default for setting in fields(config) if setting.name in names}
