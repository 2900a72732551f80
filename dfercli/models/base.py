"""The base class of every method's model, and reading and writing its checkpoints."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import NETWORKS, WITHOUT_CLIP, ModelConfig, from_dict, to_dict
from dfercli.downloads import explain_offline, hub_answers
from dfercli.errors import CheckpointError, explain_system_error, find_local_error, first_line
from dfercli.models import load_method
from dfercli.models.settings import (
    CONFIG_FILE,
    SEAL,
    WEIGHTS_FILE,
    find_settings_fault,
    make_seal,
)

if TYPE_CHECKING:
    from dfercli.models.backbone import CLIPBackbone

MAX_LOGIT_SCALE = math.log(100)
"""Largest logit scale, as in CLIP."""


class Outputs(NamedTuple):
    """What a model returns in training if its loss needs more than logits.

    Attributes:
        logits: (B, K).
        extras: Further tensors by name, each with B rows, such as the embeddings `videos`.
    """

    logits: Tensor
    extras: dict[str, Tensor]


AuxiliaryLoss = Callable[[Outputs, Tensor], Tensor]
"""Maps outputs and labels (B,) int64 to the loss of each clip, (B,)."""


class ExpressionModel(nn.Module, PyTorchModelHubMixin):
    """Classifies the expression in clips of a face: embeds a clip, then classifies the embedding.

    Each method is a subclass that defines `classify` and, if it does not take the mean over frames,
    `encode_video`. Use `build_model` to build one from CLIP, `from_pretrained` to load a trained
    one.

    Args:
        backbone: CLIP's visual tower, or what embeds frames in a method without CLIP.
        logit_scale: () initial log of the inverse temperature; None without text.
        settings: Entries of the checkpoint's `config.json`.
    """

    backbone: Any
    logit_scale: nn.Parameter
    class_texts: ClassVar[tuple[str, ...]] = ()
    """Names of the tensors with one row per class that hold its text, which is not trained."""
    class_parameters: ClassVar[tuple[str, ...]] = ()
    """Names of the parameters with one row per class."""
    undecayed: ClassVar[tuple[str, ...]] = ()
    """Names of matrices without weight decay."""
    own_loss: ClassVar[bool] = False
    """Whether the auxiliary losses are the whole loss, without the cross-entropy of the logits."""

    def __init__(
        self,
        backbone: "CLIPBackbone | nn.Module",
        logit_scale: Tensor | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        scale = None if logit_scale is None else nn.Parameter(logit_scale.detach().clone())
        self.register_parameter("logit_scale", scale)
        self.settings = settings or {}
        self.returns_extras = False  # in training; set if the loss needs them
        self.clamp_logit_scale()

    @property
    def class_names(self) -> list[str]:
        """The K classes, in the order of the logits."""
        return list(self.settings["class_names"])

    @property
    def config(self) -> ModelConfig:
        """The configuration that the model was built from."""
        return from_dict(ModelConfig, self.settings["model"])

    @property
    def image_size(self) -> int:
        """Side in pixels of the frames that the model reads."""
        return self.config.image_size or int(self.backbone.image_size)

    def forward(self, clips: Tensor) -> Tensor | Outputs:
        """Return the logits (B, K) of clips (B, T, 3, H, W), normalised.

        In training `Outputs` are returned instead if the loss needs them.
        """
        if self.training and self.returns_extras:
            return self.run(clips)
        return self.classify(self.encode_video(clips))

    def run(self, clips: Tensor) -> Outputs:
        """Return the logits and the extras of clips (B, T, 3, H, W), normalised."""
        videos = self.encode_video(clips)
        return Outputs(self.classify(videos), {"videos": videos})

    @property
    def position_layers(self) -> nn.Module | None:
        """Transformer layers over the positions of each frame, if they have no class token.

        They map (B * T, P, C), row by row, to the same shape before any other attention is
        computed. Heat maps are drawn of them, and of CLIP's tower.
        """
        return None

    def auxiliary_losses(self) -> list[tuple[AuxiliaryLoss, float]]:
        """Return what a method adds to the cross-entropy: losses and their weights."""
        return []

    def encode_video(self, clips: Tensor) -> Tensor:
        """Embed clips (B, T, 3, H, W), normalised, as (B, E): the mean over frames."""
        return F.normalize(self.backbone(clips), dim=-1).mean(dim=1)

    def classify(self, videos: Tensor) -> Tensor:
        """Return the logits (B, K) of video embeddings (B, E)."""
        raise NotImplementedError

    def set_stage(self, stage: int) -> None:
        """Choose what trains in stage 1 or 2, if the method has two stages."""

    @property
    def reads_batches(self) -> bool:
        """Whether a clip's loss depends on the other clips of its batch."""
        norms = (m for m in self.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
        return self.returns_extras or any(norm.weight.requires_grad for norm in norms)

    def compare(self, videos: Tensor, texts: Tensor) -> Tensor:
        """Return logits (B, K), Eq. (12): the scaled cosine similarity of each video and each text.

        Videos are (B, E), or (B, K, E) with one embedding per class; texts are (K, E), or (B, K,
        E).
        """
        if videos.ndim == 2:
            videos = videos.unsqueeze(1)
        return self.logit_scale.exp() * F.cosine_similarity(videos, texts, dim=-1)

    def resize(self, settings: Mapping[str, Any]) -> None:
        """Resize tensors as recorded in a checkpoint's `config.json`, before loading the file."""
        prompts = getattr(self, "prompts", None)
        if prompts is not None and "prompt_tokens" in settings:
            num_classes, _, width = prompts.words.shape
            prompts.words = prompts.words.new_empty(num_classes, settings["prompt_tokens"], width)

    def train(self, mode: bool = True) -> "ExpressionModel":
        """Set training or evaluation mode; frozen parts always stay in evaluation mode."""
        super().train(mode)
        for part in self.children():
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        return self

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Limit the logit scale as CLIP does; called after each step of the optimizer."""
        if self.logit_scale is not None:
            self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write weights and settings; `save_pretrained` calls this."""
        write_weights(self.state_dict(), self.settings, save_directory)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        map_location: str = "cpu",
        **hub_options: Any,
    ) -> "ExpressionModel":
        """Load a trained model of any method, in evaluation mode.

        Replaces the mixin's method, which reads the files itself and whose errors are longer than
        one line. The checkpoint decides the method, whichever class this is called on.

        Args:
            pretrained_model_name_or_path: A folder, or a model on the Hub.
            map_location: Device to put the model on.
            hub_options: Options of `huggingface_hub.hf_hub_download`, such as `revision` or
                `token`.

        Raises:
            CheckpointError: There is no such checkpoint, or its files do not match.
        """
        model_id = str(pretrained_model_name_or_path)
        settings = read_settings(model_id, **hub_options)
        config = from_dict(ModelConfig, settings["model"])
        with torch.device("meta"):  # shapes only: the file has all values
            model = assemble(config, settings["class_names"], make_towers(config))
            model.resize(settings)
        weights = find_weights(model_id, **hub_options)
        try:
            model.load_state_dict(read_weights(weights), assign=True)
        except SafetensorError as error:
            raise CheckpointError(
                f"cannot read {WEIGHTS_FILE} of {model_id} ({error}); it may be incomplete: copy "
                f"it again"
            ) from error
        except RuntimeError as error:
            raise CheckpointError(
                f"{model_id}: {WEIGHTS_FILE} does not match {CONFIG_FILE}; copy both again"
            ) from error
        check_seal(model_id, settings, weights)
        model.settings = {name: value for name, value in settings.items() if name != SEAL}
        return model.to(map_location).eval()


def build_model(
    config: ModelConfig,
    class_names: Sequence[str],
    crop: Mapping[str, Any] | None = None,
    entries: Mapping[str, Any] | None = None,
    drop_path: float = 0.0,
) -> ExpressionModel:
    """Build the model of a method from CLIP.

    Args:
        config: The method, the backbone and their settings.
        class_names: The K classes, in the order of the logits.
        crop: How the faces in its clips are cropped; recorded in the checkpoint.
        entries: Further entries of the checkpoint's `config.json`, such as `trained`.
        drop_path: Rate of stochastic depth in training.

    Raises:
        WeightsError: CLIP's weights are not available, or do not fit the backbone.
        UnknownNameError: open_clip has no such backbone.
        ConfigError: The method's prompts do not fit into the backbone's text tower.
    """
    pretrained: Any
    if config.method in NETWORKS and config.method in WITHOUT_CLIP:
        from dfercli.models.networks.weights import load_trunk

        pretrained = load_trunk(config)
    elif config.method in WITHOUT_CLIP:
        pretrained = load_method(config.method).load_built_in()
    else:
        from dfercli.models.pretrained import load_pretrained  # open_clip: 2 s to import

        pretrained = load_pretrained(config.backbone, config.weights)
    model = assemble(config, class_names, pretrained)
    model.settings |= {"crop": crop, **(entries or {})}
    model.backbone.drop_path = drop_path
    return model


def make_towers(config: ModelConfig) -> Any:
    """Return CLIP's towers without weights, as `assemble` needs them; None without CLIP."""
    if config.method in WITHOUT_CLIP:
        return None
    from dfercli.models.pretrained import build_untrained  # open_clip: 2 s to import

    return build_untrained(config.backbone)


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Any) -> ExpressionModel:
    """Build the model of a method from an open_clip model, whose towers become part of it.

    A method without CLIP is built from its own weights, or from None.
    """
    model: ExpressionModel = load_method(config.method).assemble(config, class_names, towers)
    return model


def first_settings(config: ModelConfig, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the settings that every new model has."""
    return {"model": to_dict(config), "class_names": list(class_names), "crop": None}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a weights file; numbers stored in float16 become float32.

    Raises:
        SafetensorError: The file is damaged.
    """
    tensors = load_file(path).items()
    return {name: t.float() if t.dtype == torch.float16 else t for name, t in tensors}


def write_prompts(config: ModelConfig, words: Sequence[str]) -> list[str]:
    """Fill the prompt template with the words of each class."""
    return [config.prompt_template.replace("{}", text) for text in words]


def write_weights(weights: Mapping[str, Tensor], settings: Mapping[str, Any], folder: Path) -> None:
    """Write a state dict and the entries of `config.json` into a folder, in the Hub's layout.

    `safetensors.torch.save_model`, which the mixin would call, refuses views of a larger buffer,
    into which cuDNN turns the weights of an LSTM, and drops all but one name of tied tensors, which
    loading then misses.
    """
    save_file(_separate_storages(weights), folder / WEIGHTS_FILE)
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def _separate_storages(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors on the CPU, contiguous and in storages of their own."""
    separated: dict[str, Tensor] = {}
    storages = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        if storage.data_ptr() in storages or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        separated[name] = tensor
    return separated


def read_settings(model_id: str, **hub_options: Any) -> dict[str, Any]:
    """Return the checked entries of a checkpoint's `config.json`; its weights are not read.

    `model_id` is a folder or a model on the Hub; options of `hf_hub_download` follow.

    Raises:
        CheckpointError: There is no such checkpoint, or its configuration is damaged.
    """
    path = _fetch(model_id, CONFIG_FILE, hub_options)
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"cannot read {CONFIG_FILE} of {model_id}: {error}") from error
    ours = isinstance(settings, dict) and isinstance(settings.get("model"), dict)
    if not ours or not isinstance(settings.get("class_names"), list):
        raise CheckpointError(f"{model_id} was not written by dfer: no model in {CONFIG_FILE}")
    if fault := find_settings_fault(settings):
        raise CheckpointError(f"{CONFIG_FILE} of {model_id} is damaged: {fault}; copy it again")
    return settings


def find_weights(model_id: str, **hub_options: Any) -> Path:
    """Return the path of a checkpoint's weights, which are fetched if necessary but not read.

    Raises:
        CheckpointError: There is no such file.
    """
    return _fetch(model_id, WEIGHTS_FILE, hub_options)


def check_seal(model_id: str, settings: Mapping[str, Any], weights: Path) -> None:
    """Refuse a checkpoint with changed files; checkpoints of earlier versions have no seal.

    Raises:
        CheckpointError: A file was changed.
    """
    if settings.get(SEAL, "") not in ("", make_seal(settings, weights)):
        raise CheckpointError(
            f"{model_id} is damaged: {CONFIG_FILE} or {WEIGHTS_FILE} has changed since it was "
            f"written; if its training was interrupted, run the same command again, otherwise "
            f"copy or train it again"
        )


def _fetch(model_id: str, name: str, options: dict[str, Any]) -> Path:
    """Return the path of a checkpoint's file in a folder, or fetched from the Hub."""
    folder = Path(model_id)
    if folder.is_dir():
        if not (folder / name).is_file():
            raise CheckpointError(
                f"no {name} in {folder}; it is not a checkpoint, or incomplete: copy it again"
            )
        return folder / name
    try:
        if not hub_answers():
            options = {**options, "local_files_only": True}
        return Path(hf_hub_download(model_id, name, **options))
    except RuntimeError as error:  # such as a user without a home folder
        raise CheckpointError(
            f"cannot fetch {name} of {model_id!r}: {first_line(error)}"
        ) from error
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        cause = find_local_error(error)
        if cause is not None:
            raise CheckpointError(
                f"cannot fetch {name} of {model_id!r}: {explain_system_error(cause)}"
            ) from error
        where = "on the Hub" if hub_answers() else f"in the cache ({explain_offline()})"
        raise CheckpointError(
            f"no checkpoint {model_id!r}: there is no such folder, and no such model {where}"
        ) from error
