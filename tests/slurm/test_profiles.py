from dataclasses import replace

import pytest
import submitit
from submitit.slurm.slurm import SlurmExecutor

from bench.evaluation.executors import Work
from bench.spec.arguments import Places, Running
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.records import Store
from bench.system.errors import BadInputError
from slurm.resources import Profile, Resources, load_profile, shipped_profiles, submitit_parameters
from slurm.submit import Slurm


@pytest.fixture
def sbatch_lines(tmp_path, monkeypatch):
    """Returns the lines of the batch script that submitit makes for a part of a profile."""
    monkeypatch.setattr(SlurmExecutor, "affinity", classmethod(lambda cls: 2))  # as if srun were installed

    def make(profile, resources):
        executor = submitit.AutoExecutor(tmp_path, cluster="slurm")
        executor.update_parameters(**submitit_parameters(profile, resources, "some-job"))
        return executor._executor._make_submission_file_text("python", "0").splitlines()

    return make


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def test_the_shipped_ones_are_these():
    assert shipped_profiles() == ("a100", "cpu", "h100", "local", "v100")


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles_load_and_submitit_takes_them(name, sbatch_lines):
    profile = load_profile(name)
    assert profile.name == name
    for resources in (profile.training, profile.evaluation):
        lines = sbatch_lines(profile, resources)
        assert f"#SBATCH --ntasks-per-node={resources.ranks}" in lines
        assert f"#SBATCH --signal=USR2@{profile.signal_s}" in lines
        assert "#SBATCH --requeue" in lines
        assert "#SBATCH --open-mode=append" in lines
        assert any("gpu" in line for line in lines) == bool(resources.gpus)
        assert (profile.gpu_gib is not None) == bool(resources.gpus)


def test_v100_trains_on_eight_and_evaluates_on_one(sbatch_lines):
    profile = load_profile("v100")
    training = sbatch_lines(profile, profile.training)
    for flag in ("gpus-per-node=8", "ntasks-per-node=8", "nodes=1", "time=1440", "constraint=v100-32g"):
        assert f"#SBATCH --{flag}" in training
    assert any(line.startswith("srun ") and "--cpus-per-task=4" in line for line in training)
    assert "#SBATCH --gpus-per-node=1" in sbatch_lines(profile, profile.evaluation)


def test_cells_in_a_dtype_that_the_nodes_lack_are_not_queued(tmp_path):
    """Nor are their trainings: a V100 has no bf16."""
    suite = get_suite("fashion")
    store, cells = Store(tmp_path, suite.name), get_cells("smoothing", suite, Selection())
    with pytest.raises(BadInputError, match=r"bf16, which a node of profile v100 does not compute in: .*--dtype fp16"):
        Slurm(Work(suite, store, Running(), Places(), profile="v100")).run(cells)
    assert "bf16" in load_profile("a100").dtypes


def test_what_a_profile_says_is_what_sbatch_reads(tmp_path, sbatch_lines):
    text = """
        partition = "long"
        account = "abc@v100"
        qos = "days"
        setup = ["module load cuda", "export A='b c'"]
        [training]
        memory_gb = 1.5
        minutes = 90
        cpus_per_rank = 3
    """
    profile = load_profile(write(tmp_path, text))
    lines = sbatch_lines(profile, profile.training)
    for flag in ("partition=long", "account=abc@v100", "qos=days", "mem=1536MB", "time=90", "cpus-per-task=3"):
        assert f"#SBATCH --{flag}" in lines
    assert "export A='b c'" in lines
    assert lines.index("module load cuda") < next(n for n, line in enumerate(lines) if line.startswith("srun "))
    assert not any("constraint" in line for line in lines)


def test_like_changes_what_is_said_and_nothing_else(tmp_path):
    path = write(tmp_path, 'like = "v100"\nconstraint = "volta"\n[training]\nminutes = 2880\n')
    v100 = load_profile("v100")
    expected = replace(v100, name=path, constraint="volta", training=replace(v100.training, minutes=2880))
    assert load_profile(path) == expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("colour = 3", ["colour", "partition", "like"]),
        ('name = "x"', ["unknown key name"]),
        ("[training]\nrank = 8", ["training.rank;", "ranks"]),
        ("[training]\nranks = 0", ["training.ranks = 0", "positive"]),
        ("[training]\nranks = 8.0", ["training.ranks = 8.0", "whole number"]),
        ("[training]\nranks = true", ["training.ranks = True", "whole number"]),
        ("[training]\nranks = 8\ngpus = 4", ["training.gpus = 4", "8 ranks"]),
        ("[training]\ncells = 2", ["training.cells = 2"]),
        ("[evaluation]\nminutes = -5", ["evaluation.minutes = -5"]),
        ("[evaluation]\nmemory_gb = inf", ["evaluation.memory_gb = inf"]),
        ('[evaluation]\nmemory_gb = "4G"', ["evaluation.memory_gb = '4G'", "a number"]),
        ("[evaluation]\nminutes = 2", ["signal_s = 120", "120 s of evaluation.minutes"]),
        ("signal_s = 0", ["signal_s = 0"]),
        ("parallel = 0", ["parallel = 0"]),
        ("gpu_gib = nan", ["gpu_gib = nan"]),
        ("training = 8", ["training = 8", "a table"]),
        ('like = "v100"\ntraining = 8', ["training = 8", "a table"]),
        ('like = "v1000"', ["'v1000'", "a100, cpu, h100, local, v100"]),
        ("like = [1]", ["[1]", "a100, cpu, h100, local, v100"]),
        ("partition = 1", ["partition = 1", "a text"]),
        ('setup = "module load cuda"', ["setup = 'module load cuda'", "a list of texts"]),
        ("setup = [1]", ["setup = [1]", "a list of texts"]),
        ("ranks 8", ["not TOML"]),
    ],
)
def test_bad_profiles_get_one_line_that_names_the_value(tmp_path, text, parts):
    path = write(tmp_path, text)
    with pytest.raises(BadInputError) as error:
        load_profile(path)
    message = str(error.value)
    assert message.startswith(f"profile {path}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("name", "part"), [("v101", "a100, cpu, h100, local, v100"), ("none.toml", "No such file"), ("", "a .toml file")]
)
def test_unknown_names_get_those_there_are(name, part):
    with pytest.raises(BadInputError, match=part):
        load_profile(name)


def test_numbers_are_checked_however_a_profile_is_made():
    with pytest.raises(BadInputError, match="ranks = 0"):
        Profile("made", training=Resources(ranks=0), evaluation=Resources())
