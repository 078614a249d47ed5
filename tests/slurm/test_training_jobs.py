"""Scripts train_<suite>.sh on a real Slurm: ranks, signals before a time limit, a requeue, arrays of any size."""

import json
import os
import re
import subprocess
import sys

import pytest
from on_cluster import ROOT, make_imagenet, make_vae, python, queued, wait_until

pytestmark = pytest.mark.slurm

SECONDS = 25
CLASSES = ("--classes", "4")
SMALL = ("--size", "xs/4", "--batch-size", "8", *CLASSES, "--device", "cpu")
# options of sbatch for a site without V100s
SBATCH = ("--ntasks-per-node=2", "--gpus-per-node=0", "--constraint=", "--cpus-per-task=1", "--time=10")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """64 images in ImageNet's layout, encoded with a small autoencoder."""
    folder = tmp_path_factory.mktemp("imagenet")
    data, vae = make_imagenet(folder / "data"), make_vae(folder / "vae")
    command = ["bench/encode_latents.py", "--suite", "imagenet", "--data", data, "--vae", vae, "--any-count"]
    python(*command, *CLASSES, "--prepared", folder / "prepared", "--workers", "0", "--device", "cpu")
    return folder / "prepared"


def test_both_contenders_train_through_a_requeue_to_the_end_of_the_budget(cluster, prepared, tmp_path):
    results = tmp_path / "results"
    flags = [*SMALL, "--train-seconds", str(SECONDS), "--prepared", str(prepared), "--results", str(results)]
    environment = {**os.environ, "PYTHON": sys.executable, "GLOO_SOCKET_IFNAME": "lo"}
    command = ["sbatch", "--parsable", f"--output={tmp_path}/%a.out", *SBATCH, "slurm/train_imagenet.sh", *flags]
    submitted = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert submitted.returncode == 0, submitted.stderr
    array = submitted.stdout.strip()
    halves = {}
    for task, model in enumerate(("dit", "fpdm")):
        log = tmp_path / f"{task}.out"
        wait_until(lambda log=log: log.exists() and "train " in log.read_text(), 240, f"training of {model}")
        wait_until(lambda log=log: log.read_text().count("steps/s") > 0, 120, f"a step of {model}")
        subprocess.run(["scancel", "--signal=USR2", f"{array}_{task}"], check=True)
        said = f"out of time: everything is saved; job {array}_{task} is requeued"
        wait_until(lambda log=log, said=said: said in log.read_text(), 60, f"saving of {model}")
        (meta,) = (results / "imagenet" / "checkpoints").glob(f"{model}-*/step-*/meta.json")
        halves[model] = json.loads(meta.read_text())
    jobs = json.loads((results / "imagenet" / "slurm" / "jobs.json").read_text())
    assert {name.split("-")[0]: job for name, job in jobs.items()} == {"dit": f"{array}_0", "fpdm": f"{array}_1"}
    wait_until(lambda: not any(job.startswith(array) for job in queued()), 400, "the end of the jobs")
    for model, half in halves.items():
        (path,) = (results / "imagenet" / "training").glob(f"{model}-*.json")
        summary = json.loads(path.read_text())
        assert summary["status"] == "done"
        assert summary["ranks"] == 2
        assert 0 < half["elapsed_s"] < SECONDS <= summary["elapsed_s"]
        log = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]
        assert [line["step"] for line in log] == list(range(10, summary["step"] + 1, 10))  # no gap
        assert all(line["loss"] is not None for line in log)
        times = [line["elapsed_s"] for line in log]
        assert times == sorted(times)
        # the clock resumed where it stopped: the windows around the requeue took no longer than others
        after = next(line for line in log if line["step"] > half["step"])
        pace = summary["elapsed_s"] / summary["step"]
        assert half["elapsed_s"] < after["elapsed_s"] < half["elapsed_s"] + 10 * 5 * pace + 2


def test_one_contender_with_damaged_latents_ends_with_one_line_wherever_it_is_submitted(cluster, prepared, tmp_path):
    import shutil

    broken = tmp_path / "prepared"
    shutil.copytree(prepared, broken)
    (path,) = (broken / "imagenet" / "latents").glob("moments-*.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # only the digest that rank 0 computes shows it
    path.write_bytes(content)
    flags = [*SMALL, "--prepared", "prepared", "--results", "results"]  # in the folder of submission
    environment = {**os.environ, "PYTHON": sys.executable, "GLOO_SOCKET_IFNAME": "lo"}
    command = ["sbatch", "--wait", "--array=0", "--output=out", *SBATCH]
    command += [ROOT / "slurm" / "train_imagenet.sh", *flags, "--models", "fpdm"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    text = (tmp_path / "out").read_text()
    assert result.returncode != 0
    (error,) = (line for line in text.splitlines() if line.startswith("error: "))
    assert error.startswith("error: prepared/imagenet/latents/moments-00000.npy was changed")
    assert "Traceback" not in text
    assert (tmp_path / "results" / "imagenet" / "slurm" / "jobs.json").exists()
    assert not list((tmp_path / "results").rglob("*.safetensors"))


def train_digits(script, folder, *flags):
    """Submit a script from the root of the repository and wait for all of its tasks; returns their logs by index."""
    environment = {**os.environ, "PYTHON": sys.executable}
    command = ["sbatch", "--wait", "--time=7", script, "--size", "xs/2", "--train-steps", "3", "--results", folder]
    command += [*flags, "--device", "cpu"]
    result = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    wait_until(lambda: not queued(), 240, "the end of all tasks")
    return {path.stem: path.read_text() for path in folder.parent.glob("*.out")}


@pytest.fixture
def script(tmp_path):
    """Makes a copy of train_digits.sh with so many tasks and logs in tmp_path."""

    def make(tasks):
        text = (ROOT / "slurm" / "train_digits.sh").read_text()
        text = re.sub(r"(#SBATCH --array)=.*", rf"\1=0-{tasks - 1}", text)
        text = re.sub(r"(#SBATCH --output)=.*", rf"\1={tmp_path}/%a.out", text)
        path = tmp_path / "train_digits.sh"
        path.write_text(text)
        return path

    return make


def test_contenders_beyond_the_array_are_submitted_by_its_first_task(cluster, script, tmp_path):
    results = tmp_path / "with space"
    logs = train_digits(script(1), results, "--models", "fpdm", "dit")
    assert logs.keys() == {"0", "1"}
    job = re.search(r"^2 trainings: tasks 1-1 are submitted as job (\d+)$", logs["0"], re.MULTILINE)[1]
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
    assert "TimeLimit=00:07:00" in shown  # the command's, not the header's
    assert "JobState=COMPLETED" in shown
    assert "submitted as job" not in logs["1"]
    for task, model in (("0", "fpdm"), ("1", "dit")):
        assert f"{model}-3steps-seed0-" in logs[task]
        (path,) = (results / "digits" / "training").glob(f"{model}-*.json")
        assert json.loads(path.read_text())["status"] == "done"


def test_a_task_beyond_the_contenders_ends_at_once(cluster, script, tmp_path):
    logs = train_digits(script(2), tmp_path / "results", "--models", "fpdm")
    assert logs["1"] == "array task 1 has nothing to do: 1 training(s)\n"
    assert "fpdm-3steps-seed0-" in logs["0"]
    assert len(list((tmp_path / "results" / "digits" / "training").glob("*.json"))) == 1
