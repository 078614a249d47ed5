"""The copy of the code that a submission's tasks run."""

import json
import subprocess
import sys

from bench.system.environment import commit
from slurm.snapshot import ROOT, take_snapshot


def test_tasks_run_the_code_as_it_was_and_know_its_commit(tmp_path):
    copy = take_snapshot(tmp_path / "code")
    assert take_snapshot(tmp_path / "code") == copy  # the same code, the same copy
    assert [path.name for path in (tmp_path / "code").iterdir()] == [copy.name]
    script = (
        "import json, bench, models, slurm, slurm.tasks; from bench.system.environment import commit\n"
        "from bench.quality.extractor_weights import extractor_digest\n"
        "from slurm.resources import shipped_profiles\n"
        "print(json.dumps([bench.__file__, models.__file__, slurm.__file__, commit(), extractor_digest('digits-cnn'),"
        " shipped_profiles()]))"
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
    assert (ROOT / "bench" / "spec" / "grids.py").read_bytes() == (copy / "bench" / "grids.py").read_bytes()
