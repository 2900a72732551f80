"""The page that the doctor writes."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line of the page.

    Attributes:
        topic: What was looked at.
        state: `ok`; `note` for what a person should know; `wrong` where a run would be wrong.
        text: What was found.
    """

    topic: str
    state: State
    text: str


@dataclass(frozen=True)
class DatasetReport:
    """What was found about one dataset.

    Attributes:
        name: Name of its manifest.
        manifest: Path of the manifest.
        root: The data root.
        findings: A line each.
        sheet: Contact sheet of some clips, or None where none can be drawn.
    """

    name: str
    manifest: Path
    root: Path | None
    findings: tuple[Finding, ...]
    sheet: Path | None = None


@dataclass(frozen=True)
class Diagnosis:
    """The whole page.

    Attributes:
        machine: Findings about this machine.
        datasets: Reports of the datasets that were found.
    """

    machine: tuple[Finding, ...]
    datasets: tuple[DatasetReport, ...]

    @property
    def verdict(self) -> str:
        """The last line of the page."""
        if not self.healthy:
            return "a run would go wrong: see above"
        topics = {finding.topic for report in self.datasets for finding in report.findings}
        if topics <= {"data"}:  # no manifest, or manifests whose data is elsewhere
            return "this machine is well; no dataset was found to look at"
        return "all is well"

    @property
    def healthy(self) -> bool:
        """Whether nothing was found for which a run would be wrong."""
        findings = [*self.machine, *(f for report in self.datasets for f in report.findings)]
        return all(finding.state != "wrong" for finding in findings)

    def to_dict(self) -> dict[str, Any]:
        """Give the page as plain values for JSON."""
        values = {"healthy": self.healthy, **asdict(self)}
        for report in values["datasets"]:
            paths = {key: report[key] for key in ("manifest", "root", "sheet")}
            report |= {key: str(path) if path else None for key, path in paths.items()}
        return values
