"""A one-node Slurm for the tests marked `slurm`."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "slurm" / "local_cluster"


def run_script(name, *arguments):
    return subprocess.run([SCRIPTS / name, *map(str, arguments)], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="session")
def local_cluster():
    """Runs a script: local_cluster("up", folder). Skips, or fails with FPDM_REQUIRE_SLURM, where no Slurm can start."""
    check = run_script("up", "--check")
    if check.returncode != 0:
        (pytest.fail if os.environ.get("FPDM_REQUIRE_SLURM") else pytest.skip)(check.stderr.strip())
    return run_script


@pytest.fixture(scope="session")
def cluster(local_cluster, tmp_path_factory):
    """The folder of a running cluster, to which SLURM_CONF points."""
    folder = tmp_path_factory.mktemp("cluster")
    try:
        up = local_cluster("up", folder)
        assert up.returncode == 0, up.stderr
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("SLURM_CONF", up.stdout.strip().removeprefix("export SLURM_CONF="))
            yield folder
    finally:
        local_cluster("down", folder)
