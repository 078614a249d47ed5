import ipaddress
import operator
import re
import subprocess
import time
from pathlib import Path

import pytest
import submitit

from slurm.resources import load_profile, submitit_parameters

pytestmark = pytest.mark.slurm


def wait_for(what, limit_s=30):
    """The first true value of what()."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(0.2)
    raise AssertionError(f"nothing after {limit_s} s; {slurm('squeue')}")


def slurm(*command):
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def submit(tmp_path, body, *flags):
    """Submit a batch script; its jobs print to out-JOB (out-ARRAY_TASK)."""
    script = tmp_path / "job.sh"
    script.write_text(f"#!/usr/bin/env bash\n{body}\n")
    output = tmp_path / ("out-%A_%a" if any("--array" in flag for flag in flags) else "out-%j")
    return slurm("sbatch", "--parsable", "--time=5", "--open-mode=append", f"--output={output}", *flags, script)


def printed(tmp_path, job, pattern):
    """A function for wait_for that returns the matches of a pattern in what a job printed."""

    def look():
        path = tmp_path / f"out-{job}"
        return re.findall(pattern, path.read_text()) if path.exists() else []

    return look


def state(job):
    return slurm("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}")


def processes(folder):
    """Ids of the living processes of a folder's cluster: daemons, job steps and children of jobs."""
    mark = f"SLURM_CONF={folder}/slurm.conf".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
        except OSError:  # it ended meanwhile, or is a zombie
            continue
    return found


def listening(pids):
    """The addresses on which the processes listen for TCP."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(str(link.readlink()))
            except OSError:
                continue
    addresses = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                words = bytes.fromhex(fields[1].split(":")[0])  # in 4-byte words of the machine's order
                address = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
                addresses.append(ipaddress.ip_address(address))
    return addresses


def test_two_ranks_run_side_by_side(cluster, tmp_path):
    job = submit(tmp_path, "srun bash -c 'echo rank $SLURM_PROCID of $SLURM_NTASKS'", "--ntasks=2")
    wait_for(lambda: state(job) == "COMPLETED")
    assert sorted(printed(tmp_path, job, r"rank \d of \d")()) == ["rank 0 of 2", "rank 1 of 2"]


def test_all_listen_on_loopback_only(cluster, tmp_path):
    job = submit(tmp_path, "srun bash -c 'echo here; sleep 60'", "--ntasks=2")
    wait_for(printed(tmp_path, job, "here"))
    addresses = listening(processes(cluster))
    slurm("scancel", job)
    assert len(addresses) > 2, "slurmctld, slurmd and srun listen"
    assert all(address.is_loopback for address in addresses), addresses


def test_a_requeued_array_task_restarts_in_seconds(cluster, tmp_path):
    body = 'echo "run ${SLURM_RESTART_COUNT:-0}"; [ -n "${SLURM_RESTART_COUNT:-}" ] || srun sleep 60'
    job = submit(tmp_path, body, "--array=0-1", "--requeue")
    after = submit(tmp_path, "echo after", f"--dependency=afterok:{job}_1")
    wait_for(printed(tmp_path, f"{job}_1", "run 0"))
    started = time.monotonic()
    slurm("scontrol", "requeue", f"{job}_1")
    wait_for(printed(tmp_path, f"{job}_1", "run 1"))
    assert time.monotonic() - started < 20
    wait_for(printed(tmp_path, after, "after"))
    assert state(f"{job}_0") == "RUNNING", "the requeued task's twin was left alone"
    slurm("scancel", job)


def test_usr2_reaches_each_rank_and_not_the_script(cluster, tmp_path):
    rank = "trap 'echo told $SLURM_PROCID; exit' USR2; echo up; for i in {1..300}; do sleep 0.1; done"
    (tmp_path / "rank.sh").write_text(rank)
    job = submit(tmp_path, f"trap 'echo script told' USR2; srun bash {tmp_path}/rank.sh; echo over", "--ntasks=2")
    wait_for(lambda: len(printed(tmp_path, job, "up")()) == 2)
    slurm("scancel", "--signal=USR2", job)
    wait_for(printed(tmp_path, job, "over"))
    assert sorted(printed(tmp_path, job, r"script told|told \d")()) == ["told 0", "told 1"]


def test_submitit_runs_an_array_with_the_local_profile(cluster, tmp_path):
    profile = load_profile("local")
    executor = submitit.AutoExecutor(tmp_path, cluster="slurm")
    executor.update_parameters(**submitit_parameters(profile, profile.evaluation, "product"))
    jobs = executor.map_array(operator.mul, [2, 3], [5, 7])
    wait_for(lambda: all(job.paths.result_pickle.exists() for job in jobs), limit_s=90)
    assert [job.result() for job in jobs] == [10, 21]


def test_up_again_is_the_same_cluster(cluster, local_cluster):
    before = {path.name: int(path.read_text()) for path in cluster.glob("*.pid")}
    again = local_cluster("up", cluster)
    assert (again.returncode, again.stdout) == (0, f"export SLURM_CONF={cluster}/slurm.conf\n")
    assert {path.name: int(path.read_text()) for path in cluster.glob("*.pid")} == before, "none was started anew"
    assert len(before) == 3
    assert all(Path(f"/proc/{pid}").exists() for pid in before.values())


@pytest.mark.parametrize("folder", ["short", "/".join(["a-folder-too-deep-for-the-path-of-a-socket"] * 3)])
def test_down_leaves_no_process_and_no_file(local_cluster, tmp_path, monkeypatch, folder):
    folder = tmp_path / folder
    try:
        up = local_cluster("up", folder)
        assert up.returncode == 0, up.stderr
        monkeypatch.setenv("SLURM_CONF", f"{folder}/slurm.conf")
        run = (folder / "run").resolve()
        job = submit(tmp_path, """srun bash -c 'trap "" TERM; echo stubborn; while :; do sleep 1; done'""")
        wait_for(printed(tmp_path, job, "stubborn"))
        assert processes(folder)
    finally:
        down = local_cluster("down", folder)
    assert down.returncode == 0, down.stderr
    wait_for(lambda: not processes(folder), limit_s=5)
    assert not run.exists()
    assert not folder.exists()


def test_up_after_the_daemons_died_starts_afresh(local_cluster, tmp_path):
    folder = tmp_path / "cluster"
    try:
        assert local_cluster("up", folder).returncode == 0
        first = {name: int((folder / f"{name}.pid").read_text()) for name in ("slurmctld", "slurmd")}
        for pid in first.values():
            slurm("kill", "-KILL", pid)
        wait_for(lambda: not set(first.values()) & set(processes(folder)))
        again = local_cluster("up", folder)
        assert again.returncode == 0, again.stderr
        assert not set(first.values()) & set(processes(folder))
    finally:
        local_cluster("down", folder)
    assert not processes(folder)


@pytest.mark.parametrize(("folder", "reason"), [("taken", "other files"), ("a b", "letters")])
def test_up_refuses_folders_in_one_line(local_cluster, tmp_path, folder, reason):
    (tmp_path / folder).mkdir()
    mine = tmp_path / folder / "slurm.conf"
    mine.write_text("ClusterName=a-real-one\n")
    up = local_cluster("up", tmp_path / folder)
    assert (up.returncode, up.stdout, up.stderr.count("\n")) == (2, "", 1)
    assert reason in up.stderr
    local_cluster("down", tmp_path / folder)
    assert mine.exists()
