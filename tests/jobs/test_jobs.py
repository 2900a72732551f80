"""Several runs as jobs: one that fails is reported, the others go on, and results are the same."""

import re
from types import SimpleNamespace

import pytest

from dfercli.ablation.paper_tables import table_rows
from dfercli.ablation.run import run_table
from dfercli.errors import ConfigError, DataError, JobsError, UnknownNameError, WeightsError
from dfercli.jobs import run
from dfercli.jobs.job import Job
from dfercli.jobs.run import run_jobs
from dfercli.models.dfer import contrastive_loss
from dfercli.training import loop
from dfercli.training.progress import following
from dfercli.training.selection import chosen_epochs

TOO_FAST = 1e30
"""A learning rate of which the loss is not finite after a step."""


def _times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def _failed(log):
    return [line for line in log.splitlines() if line.startswith("failed:")]


@pytest.mark.slow
def test_a_log_has_a_line_for_each_epoch_and_for_each_fold(make_job, tmp_path, capsys):
    outcome = run_jobs([make_job(fold) for fold in (1, 2)], tmp_path)
    lines = capsys.readouterr().err.splitlines()
    expected = []
    for job in outcome.jobs:
        metrics = job.run.read_metrics()
        for line in metrics:
            expected.append(
                f"{job.title}: epoch {line['epoch']} of 2, loss {line['loss']:.3f}, "
                f"WAR {line['war']:.1%}, UAR {line['uar']:.1%}, {line['clips_per_s']:,.1f} clips/s"
            )
        best, last = (metrics[epoch - 1] for epoch in chosen_epochs(metrics).values())
        expected.append(
            f"finished: {job.title}: WAR {best['war']:.1%}, UAR {best['uar']:.1%} (best epoch "
            f"{best['epoch']}); WAR {last['war']:.1%}, UAR {last['uar']:.1%} (last epoch 2)"
        )
    assert [re.sub(r", [\d:]+ left$", "", line) for line in lines] == expected
    assert sum(line.endswith(" left") for line in lines) == 3  # after the last epoch none is


@pytest.mark.slow
def test_a_job_that_fails_is_reported_and_the_others_go_on(make_job, tmp_path, capsys):
    configs = [make_job(1), make_job(2, lr=TOO_FAST, min_lr=0.0), make_job(3)]
    outcome = run_jobs(configs, tmp_path)
    assert [job.run.finished for job in outcome.jobs] == [True, False, True]
    (failed,) = outcome.failures
    assert failed.config == configs[1]
    (line,) = _failed(capsys.readouterr().err)
    assert line.startswith("failed: colours full fold 2: the loss is nan in epoch ")
    assert line.endswith("; lower --lr and train again with --overwrite")
    with pytest.raises(JobsError) as caught:
        outcome.check()
    assert str(caught.value) == (
        "1 of 3 runs failed (colours full fold 2), 2 finished; run the same command "
        "again to train the failed ones"
    )


@pytest.mark.slow
def test_a_job_after_a_failed_one_is_as_if_it_were_alone(
    make_job, results_of, tmp_path, monkeypatch
):
    """accelerate's state is the process's: one that fails in the middle of a pass leaves traces."""
    halves = {"compute": {"accumulate": 2}}
    alone = run_jobs([make_job(2, **halves)], tmp_path / "alone").jobs[0]
    loss, calls = contrastive_loss, []

    def fail_once(logits, labels):
        calls.append(labels)
        if len(calls) == 2:  # after half of an optimizer's step, while clips are being loaded
            raise RuntimeError("out of\nmemory")
        return loss(logits, labels)

    monkeypatch.setattr(loop, "build_loss", lambda *_: fail_once)
    outcome = run_jobs([make_job(1, **halves), make_job(2, **halves)], tmp_path / "after")
    ((job, failure),) = outcome.failures.items()
    assert (job.config.fold, failure.line) == (1, "RuntimeError: out of memory")
    assert "in fail_once" in failure.trace
    assert results_of(outcome.jobs[1].run) == results_of(alone.run)


def test_the_only_job_s_error_is_raised_as_it_is(make_job, tmp_path):
    with pytest.raises(ConfigError, match=r"colours full fold 2: the loss is nan"):
        run_jobs([make_job(2, lr=TOO_FAST, min_lr=0.0)], tmp_path)


def test_what_trains_together_does_not_go_on_alone(make_job, tmp_path, monkeypatch):
    monkeypatch.setattr(
        run,
        "PartialState",
        lambda cpu: SimpleNamespace(num_processes=2, is_local_main_process=True),
    )
    configs = [make_job(1, lr=TOO_FAST, min_lr=0.0), make_job(2)]
    with pytest.raises(ConfigError, match="the loss is nan"):
        run_jobs(configs, tmp_path)
    assert not Job(configs[1], tmp_path).run.path.exists()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_a_second_call_trains_only_what_failed(count, make_job, tmp_path, capsys):
    configs = [make_job(fold) for fold in (1, 2)]
    in_the_way = Job(configs[1], tmp_path).run.path
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    outcome = run_jobs(configs, tmp_path, jobs=count)
    assert [job.config.fold for job in outcome.failures] == [2]
    said = f"failed: colours full fold 2: {in_the_way} is a file, but dfer writes a run there; "
    said += "move it elsewhere, and run the same command again"
    assert _failed(capsys.readouterr().err) == [said]
    before = _times(outcome.jobs[0].run.path)
    assert before
    in_the_way.unlink()
    assert run_jobs(configs, tmp_path, jobs=count).failures == {}
    assert _times(outcome.jobs[0].run.path) == before
    assert all(job.run.finished for job in outcome.jobs)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"fold": 4}, DataError),
        ({"model": {"backbone": "ViT-B-33"}}, UnknownNameError),
        ({"model": {"backbone": "demo-ViT-tiny", "weights": "gone.pt"}}, WeightsError),
    ],
    ids=str,
)
def test_nothing_is_started_where_one_job_is_wrong(wrong, error, count, make_job, tmp_path):
    with pytest.raises(error):
        run_jobs([make_job(1), make_job(**{"fold": 2} | wrong)], tmp_path, jobs=count)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_rows_of_which_a_fold_failed_have_no_figures(make_job, tmp_path):
    in_the_way = tmp_path / "colours" / "full" / "fold2"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    done = run_table(table_rows(3), make_job(), [1, 2], tmp_path)
    assert done.deviations == []
    assert [job.title for job in done.outcome.jobs] == [
        "colours interfit-msta-notext fold 1",
        "colours interfit-msta-notext fold 2",
        "colours full fold 1",
        "colours full fold 2",
    ]
    figures = [(protocol, metric) for protocol in done.protocols for metric in ("uar", "war")]
    assert len(figures) == 4
    first, second = done.rows
    for figure in figures:
        assert 0 <= first.mean(*figure) <= 1
        assert (second.mean(*figure), second.sd(*figure)) == (None, None)
    with pytest.raises(JobsError, match=r"1 of 4 runs failed \(colours full fold 2\), 3 finished"):
        done.outcome.check()


def test_an_error_names_the_first_failures(make_job, tmp_path):
    every = [Job(make_job(1, seed=seed), tmp_path, overwrite=True) for seed in range(6)]
    outcome = run.Outcome(every, {job: run.Failure("") for job in every})
    with pytest.raises(JobsError) as caught:
        outcome.check()
    assert str(caught.value) == (
        "6 of 6 runs failed (colours full fold 1, colours full-seed1 fold 1, colours full-seed2 "
        "fold 1, colours full-seed3 fold 1, 2 more), 0 finished; "
        "run the same command again without --overwrite to train the failed ones"
    )


def test_a_bar_counts_epochs_of_new_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    old.write_text("1\n2\n3\n")
    with following([old, new], 6, overwrite=True) as move:
        move()
        new.write_text("1\n2")
        move()
        old.write_text("1\n2\n")
        move()
    counts = re.findall(r"2 runs: .*? (\d)/6 ", capsys.readouterr().err)
    assert [int(each) for each in dict.fromkeys(counts)] == [0, 1, 3]
    with following([old, new], 6) as move:
        pass
    assert " 3/6 " in capsys.readouterr().err
