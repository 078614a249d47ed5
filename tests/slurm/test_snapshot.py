"""The copy of the code that the jobs of a submission run."""

import json
import subprocess
import sys

import pytest

from bench.machine.provenance import commit
from slurm.snapshot import ROOT, take_snapshot


def test_tasks_run_the_code_as_it_was_and_know_its_commit(tmp_path):
    copy = take_snapshot(tmp_path / "code")
    assert take_snapshot(tmp_path / "code") == copy  # the same code, the same copy
    assert [path.name for path in (tmp_path / "code").iterdir()] == [copy.name]
    script = (
        "import json, bench, models, slurm, slurm.tasks; from bench.machine.provenance import commit\n"
        "from bench.quality.classifier import weights_digest, weights_path\n"
        "from slurm.resources import shipped_profiles\n"
        "print(json.dumps([bench.__file__, models.__file__, slurm.__file__, commit(),"
        " weights_digest(weights_path('digits-cnn').read_bytes()), shipped_profiles()]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(copy), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    *files, stamp, digest, profiles = json.loads(out)
    assert all(file.startswith(str(copy)) for file in files)
    assert stamp == commit()
    assert len(digest) == 16
    assert "v100" in profiles
    assert not (copy / "tests").exists()
    assert (ROOT / "bench/spec/cells.py").read_bytes() == (copy / "bench/spec/cells.py").read_bytes()


def test_a_copy_that_was_killed_on_the_way_is_removed_by_the_next(tmp_path, monkeypatch):
    def killed(source, target):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("slurm.snapshot.shutil.copyfile", killed)
        patch.setattr("slurm.snapshot.shutil.rmtree", lambda path, ignore_errors: None)
        with pytest.raises(SystemExit):
            take_snapshot(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    copy = take_snapshot(tmp_path)
    assert list(tmp_path.iterdir()) == [copy]
