"""The folders that training makes, and what it writes into each of them."""

from dfercli.owned import FolderKind

_CHECKPOINT_FILES = r"config\.json|model\.safetensors"
_STATE_FILES = rf"{_CHECKPOINT_FILES}|optimizer\.pt|metrics\.json|seals\.json"
_TRACKER_FILES = r"wandb/.*|(.*/)?(events\.out\.tfevents[^/]*|hparams\.yml)"

CHECKPOINT = FolderKind("a checkpoint", rf"{_CHECKPOINT_FILES}|README\.md")
STATE = FolderKind("the state after an epoch", rf"{_STATE_FILES}|README\.md")
RUN = FolderKind(
    "a run",
    r"run\.json|metrics\.jsonl|curves\.png|(predictions|validation)_(best|last|val)\.csv"
    rf"|(best|last|val)/({_CHECKPOINT_FILES})|resume/epoch[0-9]+/({_STATE_FILES})"
    rf"|logs/({_TRACKER_FILES})",
    "run.json",
    ("config",),
)
