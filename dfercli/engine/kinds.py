"""The folders that training makes, and what it writes into each of them."""

from dfercli.owned import FolderKind

_CHECKPOINT_FILES = r"config\.json|model\.safetensors"
_STATE_FILES = rf"{_CHECKPOINT_FILES}|optimizer\.pt|metrics\.json|seals\.json"
_TRACKER_FILES = r"wandb/.*|(.*/)?(events\.out\.tfevents[^/]*|hparams\.yml)"

_TABLE_FILES = r"(predictions|validation)\.csv"

CHECKPOINT = FolderKind("a checkpoint", rf"{_CHECKPOINT_FILES}|README\.md")
STATE = FolderKind("the state after an epoch", rf"{_STATE_FILES}|README\.md")
CHOSEN = FolderKind("an epoch that a protocol chose", rf"{_CHECKPOINT_FILES}|{_TABLE_FILES}")
RUN = FolderKind(
    "a run",
    r"run\.json|metrics\.jsonl|curves\.png|(predictions|validation)_(best|last|val)\.csv"
    rf"|(best|last|val)/({_CHECKPOINT_FILES})|resume/epoch[0-9]+/({_STATE_FILES})"
    rf"|resume/epoch[0-9]+-(best|last|val)/({_CHECKPOINT_FILES}|{_TABLE_FILES})"
    rf"|logs/({_TRACKER_FILES})",
    "run.json",
    ("config",),
)
