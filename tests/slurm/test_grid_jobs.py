"""Grids as jobs of a real Slurm: the records of a local run; kills, cancelled jobs, time limits; two submissions."""

import csv
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from on_cluster import processes, python, queued, started, wait_until
from safetensors import safe_open

pytestmark = pytest.mark.slurm

SMALL = ("--suite", "digits", "--size", "xs/2", "--seeds", "0", "--device", "cpu")
# so many samples that digits hold out too few images for a floor: 1 training, 12 cells
GRID = (*SMALL, "--grid", "reuse", "--budget", "12", "--samples", "762", "--train-steps", "12")
TRAIN = (*SMALL[:4], "--device", "cpu", "--models", "fpdm", "--train-steps", "12")  # what GRID needs
OUTER_JOB = {  # a submission from inside a job, by a user who exports nothing to jobs
    "SLURM_JOB_ID": "99999", "SLURM_ARRAY_JOB_ID": "99990", "SLURM_ARRAY_TASK_ID": "7", "SLURM_RESTART_COUNT": "1",
    "SLURM_MEM_PER_CPU": "50", "SLURM_MEM_PER_NODE": "100", "SLURM_NTASKS_PER_NODE": "3", "SBATCH_EXPORT": "NONE",
}  # fmt: skip
PROFILE = """
like = "local"
[training]
ranks = 1
[evaluation]
cells = 4
"""


@pytest.fixture
def profile(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(PROFILE)
    return path


@pytest.fixture
def on_slurm(cluster, profile, tmp_path):
    """The flags that run a grid on the cluster, with results in tmp_path/results."""
    yield ("--executor", "slurm", "--profile", str(profile), "--results", str(tmp_path / "results"))
    if left := list(queued()):
        subprocess.run(["scancel", *left], check=True)
        wait_until(lambda: not queued(), 60, "the end of what a test left")


def records(results):
    return {path.stem: json.loads(path.read_text()) for path in (results / "digits" / "records").glob("*.json")}


def evaluated(results):
    """How often the logs say that a cell ended, by (key, status)."""
    said = Counter()
    for log in (results / "digits" / "slurm" / "logs").glob("*_log.out"):
        said.update(re.findall(r"^\d\d:\d\d:\d\d ([0-9a-f]{16}) (\w+)", log.read_text(), re.MULTILINE))
    return said


def tasks_of(results):
    """Ids of the processes that run tasks of this results folder."""
    ours = set(processes(f"{results}/digits/slurm/logs"))
    return [pid for pid in processes("submitit.core._submit") if pid in ours]


def job_of(pid):
    lines = Path(f"/proc/{pid}/environ").read_text().split("\0")
    variables = dict(line.split("=", 1) for line in lines if "=" in line)
    return f"{variables.get('SLURM_ARRAY_JOB_ID')}_{variables.get('SLURM_ARRAY_TASK_ID')}"


def test_the_cluster_gives_the_records_of_a_local_run(on_slurm, tmp_path):
    local = tmp_path / "local"
    python("bench/run_grid.py", *GRID, "--workers", "2", "--results", local, OMP_NUM_THREADS="1")
    result = python("bench/run_grid.py", *GRID, *on_slurm, "--wait", **OUTER_JOB)
    assert "submitted: 1 training(s), 12 cell(s)" in result.stdout
    assert "with / without" in result.stdout  # the table is drawn at the end
    ours, theirs = records(tmp_path / "results"), records(local)
    assert len(ours) == 12
    assert ours.keys() == theirs.keys()
    for key, record in ours.items():
        for part in ("status", "reason", "cell", "inputs", "cost", "series", "samples_digest"):
            assert record[part] == theirs[key][part], part
        assert record["metrics"] == pytest.approx(theirs[key]["metrics"], rel=1e-9)  # threads may add in another order
        for name in ("commit", "dirty"):  # of the checkout that the tasks' copy of the code was made from
            assert record["environment"][name] == theirs[key]["environment"][name] is not None
    logs = (tmp_path / "results" / "digits" / "slurm" / "logs").glob("*_log.out")
    codes = [line for log in logs for line in log.read_text().splitlines() if line.startswith("code: ")]
    (copy,) = (tmp_path / "results" / "digits" / "slurm" / "code").iterdir()
    assert len(codes) == 4  # a training, three tasks of four cells
    assert set(codes) == {f"code: {copy}"}
    again = python("bench/run_grid.py", *GRID, *on_slurm)
    assert "all 12 cells of reuse have records" in again.stdout


def test_a_killed_task_and_a_cancelled_job_are_run_again_and_nothing_twice(on_slurm, tmp_path):
    results = tmp_path / "results"
    with started("bench/run_grid.py", *GRID, *on_slurm, "--wait") as waiting:
        array = wait_until(lambda: cells_array(results), 60, "submission")
        tasks = wait_until(lambda: [pid for pid in tasks_of(results) if job_of(pid).startswith(array)], 240, "a task")
        killed = job_of(tasks[0])
        os.kill(tasks[0], signal.SIGKILL)
        others = [job for job in queued() if job.startswith(array) and job != killed]
        assert others
        subprocess.run(["scancel", others[-1]], check=True)
        output, _ = waiting.communicate(timeout=400)
    assert waiting.returncode == 0, output
    assert "they are submitted once more" in output
    found = records(results)
    assert len(found) == 12
    assert {record["status"] for record in found.values()} == {"done"}
    assert set(evaluated(results).values()) == {1}
    assert len(evaluated(results)) == 12


def cells_array(results):
    """The prefix of the cell jobs' ids in the ledger, such as `17_`; None before they are submitted."""
    path = results / "digits" / "slurm" / "jobs.json"
    jobs = json.loads(path.read_text()) if path.exists() else {}
    return next((job.split("_")[0] + "_" for name, job in jobs.items() if not name.startswith("fpdm")), None)


def test_a_cell_whose_process_is_killed_twice_has_a_record_that_says_so(on_slurm, tmp_path):
    """As the kernel kills a process when memory runs out. The task continues with its other cells."""
    results = tmp_path / "results"
    python("bench/train.py", *TRAIN, "--results", results)
    cells = ("--only", *first_keys(4))

    def workers():
        """Those that evaluate a cell, whose lock they hold. One that is killed before it begins ends its task."""
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        holders = {int(pid) for _, kind, _, _, pid, *_ in locks if kind == "FLOCK"}
        return [pid for task in tasks_of(results) for pid in children(task) if pid in holders]

    with started("bench/run_grid.py", *GRID, *cells, *on_slurm, "--wait") as waiting:
        for _ in range(2):
            (worker, *_rest) = wait_until(workers, 240, "a worker", pause_s=0.02)
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda worker=worker: worker not in workers(), 30, "its end")
        output, _ = waiting.communicate(timeout=400)
    assert waiting.returncode == 1, output
    found = records(results)
    assert Counter(record["status"] for record in found.values()) == {"oom": 1, "done": 3}
    (oom,) = (record for record in found.values() if record["status"] == "oom")
    assert oom["reason"] == "its process was killed, most likely for memory"
    assert f"oom, {oom['reason']}" in output
    python("bench/run_grid.py", *GRID, *cells, *on_slurm, "--wait")  # again, with enough memory
    assert {record["status"] for record in records(results).values()} == {"done"}


def listed(*flags):
    return list(csv.DictReader(python("bench/run_grid.py", *flags, "--list").stdout.splitlines()))


def first_keys(count):
    return [row["key"] for row in listed(*GRID)[:count]]


def children(pid):
    """Ids of a task's evaluating processes, which multiprocessing has spawned."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    spawned = set(processes("multiprocessing.spawn import spawn_main"))
    return [int(child) for child in found if int(child) in spawned]


def test_two_submissions_of_one_grid_at_once_do_no_work_twice(on_slurm, tmp_path):
    results = tmp_path / "results"
    command = ("bench/run_grid.py", *GRID, *on_slurm, "--wait")
    with started(*command) as one, started(*command) as other:
        both = [one, other]
        outputs = [process.communicate(timeout=500)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    said = sorted(re.search(r"submitted: (\d+) training\(s\), (\d+) cell", output).groups() for output in outputs)
    assert said == [("0", "0"), ("1", "12")]
    assert {record["status"] for record in records(results).values()} == {"done"}
    assert len(evaluated(results)) == 12
    assert set(evaluated(results).values()) == {1}


def test_a_cell_that_a_whole_job_is_not_enough_for_ends_as_timeout(on_slurm, tmp_path):
    """The job has two minutes and is signalled one or two before its end; the first batch of its cell takes longer."""
    results = tmp_path / "results"
    (tmp_path / "mine.toml").write_text('like = "local"\nsignal_s = 60\n[evaluation]\ncells = 4\nminutes = 2\n')
    python("bench/train.py", *TRAIN, "--results", results)
    long = ("--grid", "reuse", "--budget", "70000", "--samples", "125", "--train-steps", "12")
    key = next(row["key"] for row in listed(*SMALL, *long) if (row["iterations"], row["steps"]) == ("68", "1000"))
    result = python("bench/run_grid.py", *SMALL, *long, "--only", key, *on_slurm, "--wait", check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    (record,) = records(results).values()
    assert record["status"] == "timeout"
    assert re.fullmatch(r"it did not end within a job, twice, the second time in \d+ s", record["reason"])


def sampling_seconds(part):
    with safe_open(part, "pt") as file:
        return json.loads(file.metadata()["numbers"])["sampling_s"]


def test_a_cell_whose_time_is_up_goes_on_after_its_last_batch(on_slurm, tmp_path):
    """The cell has twenty batches of some seconds; the job is signalled when most of them are done."""
    results = tmp_path / "results"
    python("bench/train.py", *TRAIN, "--results", results)
    long = (*SMALL, "--grid", "reuse", "--budget", "560", "--samples", "2500", "--train-steps", "12")
    key = listed(*long)[0]["key"]

    def batches():
        return sorted((results / "digits" / "partial" / key).glob("batch-*"))

    with started("bench/run_grid.py", *long, "--only", key, *on_slurm, "--wait") as waiting:
        wait_until(lambda: len(batches()) >= 14, 300, "the fourteenth batch")
        (job,) = queued()
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
        wait_until(lambda: queued().get(job) != "RUNNING", 60, "its end")
        kept = [(path, path.stat().st_mtime_ns) for path in batches()]
        assert 14 <= len(kept) < 20
        sampled_s = sum(sampling_seconds(path) for path, _ in kept)
        wait_until(lambda: len(batches()) > len(kept), 240, "another batch")
        assert [(path, path.stat().st_mtime_ns) for path in batches()][: len(kept)] == kept
        output, _ = waiting.communicate(timeout=400)
    assert waiting.returncode == 0, output
    (record,) = records(results).values()
    assert record["status"] == "done"
    assert record["timing"]["sampling_s"] > sampled_s > 0  # of both jobs


def test_a_training_whose_time_is_up_goes_on_in_a_requeued_job_and_its_cells_follow(on_slurm, tmp_path):
    results, seconds = tmp_path / "results", 15
    grid = (*SMALL, "--grid", "reuse", "--budget", "12", "--samples", "762", "--train-seconds", str(seconds))
    logs = results / "digits" / "slurm" / "logs"

    def said(text):
        return any(text in log.read_text() for log in logs.glob("*_0_log.out"))

    with started("bench/run_grid.py", *grid, *on_slurm, "--wait") as waiting:
        wait_until(lambda: said("train fpdm"), 240, "the start")
        time.sleep(5)
        (training,) = (job for job in queued() if not job.startswith(cells_array(results)))
        subprocess.run(["scancel", "--signal=USR2", training], check=True)
        wait_until(lambda: said(f"out of time: everything is saved; job {training} is requeued"), 60, "saving")
        (meta,) = (results / "digits" / "checkpoints").glob("*/step-*/meta.json")
        half = json.loads(meta.read_text())
        assert half["status"] == "training"
        output, _ = waiting.communicate(timeout=400)
    assert waiting.returncode == 0, output
    assert "once more" not in output
    (path,) = (results / "digits" / "training").glob("*.json")
    summary = json.loads(path.read_text())
    assert 0 < half["elapsed_s"] < seconds <= summary["elapsed_s"]
    assert half["step"] < summary["step"]
    assert {record["status"] for record in records(results).values()} == {"done"}
    assert len(records(results)) == 12


def test_more_tasks_than_an_array_can_have_are_several_arrays(local_cluster, tmp_path, monkeypatch):
    cluster, results = tmp_path / "cluster", tmp_path / "it's here"
    profile = tmp_path / "mine.toml"
    profile.write_text('like = "local"\n[evaluation]\ncells = 1\n')
    try:
        up = local_cluster("up", cluster, "MaxArraySize=5")
        assert up.returncode == 0, up.stderr
        monkeypatch.setenv("SLURM_CONF", f"{cluster}/slurm.conf")
        flags = ("--executor", "slurm", "--profile", profile, "--results", results)
        result = python("bench/run_grid.py", *GRID, *flags)
        assert "submitted: 1 training(s), 12 cell(s)" in result.stdout
        jobs = json.loads((results / "digits" / "slurm" / "jobs.json").read_text())
        assert set(jobs.values()) <= {*queued()}
        arrays = Counter(job.split("_")[0] for job in jobs.values())
        assert sorted(arrays.values()) == [1, 2, 5, 5]
        again = python("bench/run_grid.py", *GRID, *flags)
        assert "submitted: 0 training(s), 0 cell(s)" in again.stdout
    finally:
        local_cluster("down", cluster)


def test_a_profile_that_the_cluster_refuses_is_one_line(cluster, tmp_path):
    results = tmp_path / "results"
    flags = (*GRID, "--executor", "slurm", "--profile", "v100", "--results", results)
    result = python("bench/run_grid.py", *flags, check=False)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: --profile v100: Slurm refuses the job (")
    assert not list((results / "digits" / "slurm" / "logs").iterdir())
    assert not queued()
