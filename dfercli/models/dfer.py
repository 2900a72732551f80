"""The paper's figure 3: frames, InterFIT, MSTA, BiEhPro, and their likeness to the classes' names.

clips (B, T, 3, H, W)
  └ backbone, each block joined by InterFIT's tokens      frame embeddings (B, T, E)
      └ MSTA, or the mean over frames                     video embedding  (B, E)
          └ BiEhPro with the text features (K, E)         pairs            (B, K, E) twice
              └ cosine x exp(logit_scale)                 logits           (B, K)
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import ModelConfig, from_dict, to_dict
from dfercli.errors import CheckpointError
from dfercli.models.backbone import CLIPBackbone
from dfercli.models.biehpro import BiEhPro
from dfercli.models.interfit import InterFIT
from dfercli.models.msta import MSTA
from dfercli.models.pretrained import build_visual, encode_prompts, load_pretrained

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
MAX_LOGIT_SCALE = math.log(100)
"""CLIP's own bound on its temperature."""


class DFERModel(nn.Module, PyTorchModelHubMixin):
    """Names the expression in clips of a face. A module that is None is switched off.

    Use `build_model` to make one from CLIP, `DFERModel.from_pretrained` to load a trained one.

    Args:
        backbone: CLIP's visual tower.
        interfit: Interaction between frames; None reads each frame alone.
        msta: Aggregation over frames; None takes their mean.
        biehpro: Prompts; None compares the video with the text features as they are.
        text_features: (K, E) of the classes, normalised. They are fixed.
        logit_scale: Start of the log of the inverse temperature.
        head: Maps (B, E) to (B, K) in place of the text (Table 3).
        settings: What a checkpoint must know: the entries of `config.json`.
    """

    text_features: Tensor
    logit_scale: nn.Parameter

    def __init__(
        self,
        backbone: CLIPBackbone,
        interfit: InterFIT | None = None,
        msta: MSTA | None = None,
        biehpro: BiEhPro | None = None,
        text_features: Tensor | None = None,
        logit_scale: float = math.log(1 / 0.07),
        head: nn.Linear | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.interfit = interfit
        self.msta = msta
        self.biehpro = biehpro
        self.head = head
        scale = nn.Parameter(torch.tensor(logit_scale)) if head is None else None
        self.register_parameter("logit_scale", scale)
        self.register_buffer("text_features", text_features if head is None else None)
        self.settings = settings or {}

    @property
    def class_names(self) -> list[str]:
        """The K classes, in the order of the logits."""
        return list(self.settings["class_names"])

    @property
    def config(self) -> ModelConfig:
        """The configuration that the model was built by."""
        return from_dict(ModelConfig, self.settings["model"])

    def encode_video(self, clips: Tensor) -> Tensor:
        """Embed clips (B, T, 3, H, W), normalised, as V (B, E)."""
        frames = F.normalize(self.backbone(clips, self.interfit), dim=-1)  # Z, (B, T, E)
        return frames.mean(dim=1) if self.msta is None else self.msta(frames)

    def forward(self, clips: Tensor) -> Tensor:
        """Give the logits (B, K) of clips (B, T, 3, H, W), normalised."""
        videos = self.encode_video(clips)
        if self.head is not None:
            return self.head(videos)
        texts = self.text_features
        if self.biehpro is None:
            texts, videos = texts.unsqueeze(0), videos.unsqueeze(1)
        else:
            texts, videos = self.biehpro(texts, videos)  # (B, K, E) twice
        return self.logit_scale.exp() * F.cosine_similarity(videos, texts, dim=-1)

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keep the temperature in CLIP's bounds; called after each step of the optimizer."""
        if self.logit_scale is not None:
            self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        text = json.dumps(self.settings, indent=2, ensure_ascii=False)
        (save_directory / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        map_location: str = "cpu",
        **hub_options: Any,
    ) -> "DFERModel":
        """Load a trained model, in evaluation mode.

        The mixin's own method is replaced: it reads the files before it calls us, with errors that
        are not one line.

        Args:
            pretrained_model_name_or_path: A folder, or a model on the Hub.
            map_location: Device to put the model on.
            hub_options: Of `huggingface_hub.hf_hub_download`, such as `revision` and `token`.

        Raises:
            CheckpointError: There is no such checkpoint, or its files do not hold together.
        """
        model_id = str(pretrained_model_name_or_path)
        settings = _read_settings(model_id, _fetch(model_id, CONFIG_FILE, hub_options))
        config, class_names = from_dict(ModelConfig, settings["model"]), settings["class_names"]
        backbone = CLIPBackbone(build_visual(config.backbone))
        texts = torch.zeros(len(class_names), backbone.embed_width)
        model = assemble(config, class_names, backbone, texts)
        model.settings = settings
        weights = _fetch(model_id, WEIGHTS_FILE, hub_options)
        try:
            model.load_state_dict(load_file(weights))
        except SafetensorError as error:
            raise CheckpointError(
                f"cannot read {WEIGHTS_FILE} of {model_id}: {error}; is it whole? copy it again"
            ) from error
        except RuntimeError as error:
            raise CheckpointError(
                f"{model_id}: {WEIGHTS_FILE} does not fit {CONFIG_FILE}; was one replaced?"
            ) from error
        return model.to(map_location).eval()


def build_model(
    config: ModelConfig, class_names: Sequence[str], crop: dict[str, Any] | None = None
) -> DFERModel:
    """Build a model from CLIP, with the text features of its classes computed once, Eq. (9).

    Args:
        config: Which model.
        class_names: The K classes, in the order of the logits.
        crop: How the faces it will see are cropped; it travels with the checkpoint.

    Raises:
        WeightsError: CLIP's weights cannot be had, or do not fit the backbone.
        UnknownNameError: open_clip has no such backbone.
    """
    pretrained = load_pretrained(config.backbone, config.weights)
    prompts = [config.prompt_template.replace("{}", name) for name in class_names]
    texts = encode_prompts(pretrained, config.backbone, prompts) if config.text else None
    scale = pretrained.logit_scale.item()
    model = assemble(config, class_names, CLIPBackbone(pretrained.visual), texts, scale)
    model.settings["crop"] = crop
    return model


def assemble(
    config: ModelConfig,
    class_names: Sequence[str],
    backbone: CLIPBackbone,
    text_features: Tensor | None,
    logit_scale: float = math.log(1 / 0.07),
) -> DFERModel:
    """Join a backbone with the modules that a configuration switches on."""
    interfit = msta = biehpro = head = None
    if config.interfit:
        interfit = InterFIT(backbone.width, backbone.num_layers, config.near_clip_init)
    if config.msta:
        pools, near_clip = config.msta_pools, config.near_clip_init
        msta = MSTA(backbone.embed_width, config.num_frames, pools, near_clip)
    if config.biehpro:
        biehpro = BiEhPro(
            backbone.embed_width,
            config.num_blocks,
            config.cross_attention,
            config.text_prompt,
            config.visual_prompt,
            config.prompt_scale,
        )
    if not config.text:
        head = nn.Linear(backbone.embed_width, len(class_names))
    settings = {"model": to_dict(config), "class_names": list(class_names), "crop": None}
    model = DFERModel(backbone, interfit, msta, biehpro, text_features, logit_scale, head, settings)
    model.clamp_logit_scale()
    return model


def contrastive_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the mean loss of a batch, Eq. (12): cross-entropy of the scaled similarities.

    Args:
        logits: (B, K).
        labels: (B,) int64, or (B, K) shares of each class.
    """
    return F.cross_entropy(logits, labels)


def _read_settings(model_id: str, path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"cannot read {CONFIG_FILE} of {model_id}: {error}") from error
    ours = isinstance(settings, dict) and isinstance(settings.get("model"), dict)
    if not ours or not isinstance(settings.get("class_names"), list):
        raise CheckpointError(f"{model_id} was not written by dfer: no model in {CONFIG_FILE}")
    return settings


def _fetch(model_id: str, name: str, options: dict[str, Any]) -> Path:
    """Find a file of a checkpoint in a folder, or on the Hub."""
    folder = Path(model_id)
    if folder.is_dir():
        if not (folder / name).is_file():
            raise CheckpointError(f"no {name} in {folder}; is it a checkpoint, and whole?")
        return folder / name
    try:
        return Path(hf_hub_download(model_id, name, **options))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"no checkpoint {model_id!r}: neither a folder here nor a model on the Hub (network?)"
        ) from error
