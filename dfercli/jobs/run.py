"""Train several runs as independent jobs: one after another, in processes, or on a cluster.

A job is one run: one model on one fold. It leaves the same run folder wherever it runs. A job that
fails is reported, and the others go on.
"""

import gc
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import PartialState

from dfercli.config import (
    ALL_DATA,
    NETWORKS,
    UNTRAINED,
    WITHOUT_CLIP,
    DataConfig,
    ModelConfig,
    RunConfig,
)
from dfercli.data.folds import check_labels, open_manifest, select_rows
from dfercli.data.loaders import check_frames
from dfercli.data.manifest import Manifest
from dfercli.device import resolve_device, resolve_training, share_this_machine
from dfercli.errors import DataError, DferError, JobsError, UnexpectedError, WeightsError
from dfercli.jobs.job import Ended, Failure, Job, Work
from dfercli.jobs.ray import run_on_cluster
from dfercli.models.networks.weights import ensure_trunk, find_source
from dfercli.models.pretrained import ensure_weights
from dfercli.parallel import Emit, WorkerDied, ending_on_sigterm, run_in_workers
from dfercli.progress import write_line
from dfercli.runs.provenance import name_weights
from dfercli.runs.run_folder import RunFolder
from dfercli.training.device import check_trackers
from dfercli.training.evaluation import describe_data
from dfercli.training.initial import check_initial
from dfercli.training.loop import train_fold
from dfercli.training.progress import Progress, following
from dfercli.training.recipe import check_recipe
from dfercli.training.selection import chosen_epochs

SHOWN_FAILURES = 4
"""Failed runs that an error lists, so that it stays one readable line (our choice)."""


@dataclass(frozen=True)
class Outcome:
    """What became of several jobs; those that did not fail are finished."""

    jobs: list[Job]
    failures: dict[Job, Failure]

    def check(self) -> None:
        """Raise an error that says what failed, what is finished, and what to do next.

        Raises:
            JobsError: A job failed.
        """
        if not self.failures:
            return
        titles = [job.title for job in self.failures]
        listed = ", ".join(titles[:SHOWN_FAILURES])
        if len(titles) > SHOWN_FAILURES:
            listed += f", {len(titles) - SHOWN_FAILURES} more"
        overwritten = any(job.overwrite for job in self.jobs)
        raise JobsError(
            f"{len(titles)} of {len(self.jobs)} runs failed ({listed}), "
            f"{len(self.jobs) - len(titles)} finished; run the same "
            f"command again{' without --overwrite' if overwritten else ''} to train the failed ones"
        )


def train_folds(
    config: RunConfig,
    folds: Sequence[int],
    runs: Path,
    command: str = "",
    overwrite: bool = False,
    jobs: int = 1,
    cluster: str | None = None,
    manifest: Manifest | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> dict[int, RunFolder]:
    """Train a model on each of several folds; folds that are finished are not trained again.

    See `run_jobs` for the other arguments; the fold of `config` is replaced by each of `folds`.

    Returns:
        The run of each fold.

    Raises:
        DferError: The data or the settings are inconsistent; nothing was trained.
        JobsError: A fold failed; the others are finished. Nothing is returned, because the mean of
            the other folds would pass for the mean of all.
    """
    configs = [replace(config, fold=fold) for fold in folds]
    outcome = run_jobs(configs, runs, command, overwrite, jobs, cluster, manifest, calibration)
    outcome.check()
    return {job.config.fold: job.run for job in outcome.jobs}


def run_jobs(
    configs: Sequence[RunConfig],
    runs: Path,
    command: str = "",
    overwrite: bool = False,
    jobs: int = 1,
    cluster: str | None = None,
    manifest: Manifest | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> Outcome:
    """Train several runs; those that are finished are not trained again.

    Args:
        configs: The runs, no two of them in one folder.
        runs: Folder of all runs.
        command: Command line, for the record.
        overwrite: Train again what is finished.
        jobs: Number of runs trained at a time, each in a process of its own; 1 trains in this one.
        cluster: Address of a Ray cluster that trains them instead of this machine.
        manifest: The data of all runs, opened; by default each one's manifest is opened, once.
        calibration: Entry `calibration` of checkpoints trained on all clips.

    Raises:
        DferError: The data or the settings are inconsistent, and nothing was trained; or the only
            run failed, or one that several processes train together.
    """
    data = {config.data for config in configs}
    manifests = {source: manifest or open_manifest(source) for source in data}
    all_jobs = [
        Job(config, runs, command, overwrite, manifests[config.data], calibration)
        for config in configs
    ]
    todo = [job for job in all_jobs if job.unfinished]
    if cluster is None:  # its machines may have what this one lacks
        for compute in {resolve_training(job.config) for job in todo}:
            check_trackers(compute)
    _check_jobs(all_jobs, manifests)
    failures = {}
    clips = sum(_count_clips(job.config, manifests[job.config.data]) for job in todo)
    for job, failure in _run(todo, jobs, cluster, clips, alone=len(all_jobs) == 1):
        if failure:
            failures[job] = failure
            reason = failure.line.removeprefix(f"{job.title}: ")
            write_line(f"{failure.trace}failed: {job.title}: {reason}")
        elif cluster is not None or jobs > 1 or PartialState().is_main_process:
            write_line(describe_end(job.run, job.title))
    return Outcome(all_jobs, failures)


def describe_end(run: RunFolder, title: str) -> str:
    """Return the line of a finished run: the scores of its chosen epochs on the test fold."""
    metrics = run.read_metrics()
    if run.fold == ALL_DATA:
        return f"finished: {title}: {len(metrics)} epochs"
    chosen = chosen_epochs(metrics)
    lines = {protocol: metrics[epoch - metrics[0]["epoch"]] for protocol, epoch in chosen.items()}
    scores = [
        f"WAR {line['war']:.1%}, UAR {line['uar']:.1%} ({protocol} epoch {line['epoch']})"
        for protocol, line in lines.items()
    ]
    return f"finished: {title}: {'; '.join(scores)}"


def _check_jobs(jobs: Sequence[Job], manifests: Mapping[DataConfig, Manifest]) -> None:
    """Check all that can be checked before anything is trained."""
    for data, manifest in manifests.items():
        check_labels(manifest)
        check_frames(manifest, Path(data.root))
    for job in jobs:
        manifest, fold = manifests[job.config.data], job.config.fold
        manifest.select(fold, "test")  # raises if there is no such fold
        if manifest.select(fold, "train").empty:
            raise DataError(
                f"no clips to train on when fold {fold} is tested; assign the clips to more folds"
            )
        check_recipe(job.config)
        if job.config.train.labels == "votes":
            manifest.label_shares(manifest.rows)  # raises if there are no votes
        if job.unfinished:
            check_initial(job.config, manifest)
        if not job.overwrite:
            job.run.check_same(job.config, describe_data(job.config, manifest))
    _ensure_weights([job.config.model for job in jobs if job.unfinished])


def _ensure_weights(models: Sequence[ModelConfig]) -> None:
    """Fetch the initial weights of models unless they are cached.

    Raises:
        WeightsError: Some are not available; all are listed, with the models that need them.
    """
    users: dict[tuple[str, str], list[ModelConfig]] = {}
    for model in models:
        if model.method not in WITHOUT_CLIP:
            users.setdefault((model.backbone, model.weights), []).append(model)
        elif model.method in NETWORKS:
            users.setdefault((find_source(model), model.weights), []).append(model)
    errors: list[WeightsError] = []
    missing: dict[str, list[str]] = {}
    for (backbone, weights), group in users.items():
        try:
            if group[0].method in WITHOUT_CLIP:
                ensure_trunk(group[0])
            else:
                ensure_weights(backbone, weights)
        except WeightsError as error:
            errors.append(error)
            missing.setdefault(name_weights(weights), []).extend(model.variant for model in group)
    if len(errors) == 1 and len(users) == 1:
        raise errors[0]
    if errors:
        listed = (f"{name} for {', '.join(dict.fromkeys(v))}" for name, v in missing.items())
        reason = errors[0].line.partition("; ")[0]
        raise WeightsError(
            f"no initial weights: {'; '.join(listed)} ({reason}); run once with a network, use "
            f"--weights random, or choose other rows with --models"
        )


def _run(
    todo: Sequence[Job], count: int, cluster: str | None, clips: int, alone: bool
) -> Iterator[Ended]:
    """Run jobs in this process, in several or on a cluster, and yield each as it ends."""
    if not todo:
        return
    if cluster is None and count == 1:
        yield from _run_here(todo, clips, alone)
        return
    files = [job.run.metrics_file for job in todo]
    epochs = sum(job.config.train.last_epoch for job in todo)
    with ending_on_sigterm(), following(files, epochs, todo[0].overwrite) as tick:
        if cluster is not None:
            yield from run_on_cluster(todo, cluster, attempt, tick)
        else:
            yield from run_processes(todo, count, attempt, tick)


def run_processes(
    jobs: Sequence[Job], count: int, work: Work, tick: Callable[[], None]
) -> Iterator[Ended]:
    """Run jobs, each in a new process, so that one that dies fails its own job only.

    Closing the generator, or an exception thrown into it, ends the processes. All jobs are for one
    device and `count` of them run at a time; `tick` is called about once per second. Yields each
    job as it ends.
    """
    shares = share_this_machine(count, jobs[0].config.compute.device)
    results = run_in_workers(
        jobs,
        partial(_start, work),
        shares,
        purpose="trains",
        advice="--jobs or --batch-size",
        fresh=True,
        tick=tick,
    )
    with closing(results):
        for job, result in results:
            yield job, Failure(result.reason) if isinstance(result, WorkerDied) else result


def _start(work: Work) -> Callable[[Job, Emit], Failure | None]:
    return lambda job, emit: work(job)


def _run_here(todo: Sequence[Job], clips: int, alone: bool) -> Iterator[Ended]:
    """Run jobs one after another in this process.

    An error is raised if there is no other job, and if several processes train together (DDP): the
    others would wait forever for this one in the middle of the failed job.
    """
    device = resolve_device(todo[0].config.compute.device)
    state = PartialState(cpu=device == "cpu")
    together = alone or state.num_processes > 1
    with Progress(clips, state.is_local_main_process) as progress:
        for job in todo:
            if together:
                _train(job, progress)
                gc.collect()  # models lie in cycles; the next job may need their memory
                yield job, None
            else:
                yield job, attempt(job, progress)


def _count_clips(config: RunConfig, manifest: Manifest) -> int:
    """Return the number of training clips of all epochs."""
    if config.model.method in UNTRAINED:
        return 0
    return len(select_rows(manifest, "train", config)) * config.train.last_epoch


def _train(job: Job, progress: Progress | None) -> None:
    recorded = job.command, job.overwrite
    train_fold(job.config, job.runs, *recorded, progress, job.manifest, job.calibration)


def attempt(job: Job, progress: Progress | None = None) -> Failure | None:
    """Run a job; return why it failed, or None."""
    try:
        _train(job, progress)
    except DferError as error:
        trace = traceback.format_exc() if isinstance(error, UnexpectedError) else ""
        return Failure(error.line, trace)
    except OSError as error:
        return Failure(f"{error.filename or 'a file'}: {error.strerror or error}")
    except Exception as error:  # any error concerns only this job
        text = " ".join(str(error).split())
        return Failure(f"{type(error).__name__}: {text}", traceback.format_exc())
    finally:
        gc.collect()
    return None
