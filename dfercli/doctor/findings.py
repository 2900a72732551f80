"""The results of a diagnosis."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One result.

    Attributes:
        topic: What was checked.
        state: `ok`; `note` if a person should know it; `wrong` if a run would fail or mislead.
        text: The result in words.
    """

    topic: str
    state: State
    text: str


@dataclass(frozen=True)
class DatasetReport:
    """The results for one dataset.

    Attributes:
        name: Name of its manifest.
        manifest: Path of the manifest.
        root: The data root.
        findings: The results.
        sheet: Contact sheet of some clips, or None if it cannot be drawn.
    """

    name: str
    manifest: Path
    root: Path | None
    findings: tuple[Finding, ...]
    sheet: Path | None = None


@dataclass(frozen=True)
class Diagnosis:
    """All results.

    Attributes:
        machine: The results for this machine.
        datasets: The results for each dataset.
    """

    machine: tuple[Finding, ...]
    datasets: tuple[DatasetReport, ...]

    @property
    def verdict(self) -> str:
        """The conclusion in one line."""
        if not self.healthy:
            return "problems found; see above"
        topics = {finding.topic for report in self.datasets for finding in report.findings}
        if topics <= {"data"}:  # no manifest, or only manifests of missing data
            return "this machine is fine; no dataset was found"
        return "no problems found"

    @property
    def healthy(self) -> bool:
        """Whether no result is `wrong`."""
        findings = [*self.machine, *(f for report in self.datasets for f in report.findings)]
        return all(finding.state != "wrong" for finding in findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain values for JSON."""
        values = {"healthy": self.healthy, **asdict(self)}
        for report in values["datasets"]:
            paths = {key: report[key] for key in ("manifest", "root", "sheet")}
            report |= {key: str(path) if path else None for key, path in paths.items()}
        return values
