"""Cores within a container's quota, from made-up files of both versions of control groups."""

import os

import pytest
import torch

from bench.machine import devices
from bench.machine.cgroups import quota_cores
from bench.machine.devices import default_workers, stay_within_cores, usable_cores


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


@pytest.fixture
def second(tmp_path):
    """Version 2: second(quotas by group, the process's own group, the group that is mounted)."""

    def make(quotas, own="/", root="/"):
        mount = tmp_path / "cgroup v2"
        for group, quota in quotas.items():
            write(mount / group / "cpu.max", quota)
        escaped = str(mount).replace(" ", "\\040")
        write(tmp_path / "proc/cgroup", f"0::{own}")
        write(
            tmp_path / "proc/mountinfo",
            f"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
            f"30 22 0:26 {root} {escaped} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
        )
        return tmp_path / "proc"

    return make


@pytest.fixture
def first(tmp_path):
    """Version 1, beside an empty version 2: first(quota and period by group, own group, mounted group)."""

    def make(quotas, own="/", root="/"):
        for group, (quota, period) in quotas.items():
            write(tmp_path / "cpu" / group / "cpu.cfs_quota_us", quota)
            write(tmp_path / "cpu" / group / "cpu.cfs_period_us", period)
        write(tmp_path / "proc/cgroup", f"5:cpuset:/\n4:memory:/a:b\n3:cpu,cpuacct:{own}\n0::/")
        write(
            tmp_path / "proc/mountinfo",
            f"31 23 0:28 / {tmp_path} rw - tmpfs tmpfs rw,mode=755\n"
            f"32 31 0:29 {root} {tmp_path}/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
            f"33 31 0:30 / {tmp_path}/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
            f"34 31 0:31 / {tmp_path}/unified rw,relatime - cgroup2 cgroup2 rw",
        )
        return tmp_path / "proc"

    return make


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", None),
        ("150000 100000", 1),
        ("200000 100000", 2),
        ("199999 100000", 1),
        ("50000 100000", 0),
        ("800000 50000", 16),
        ("", None),
        ("100000 0", None),
        ("much", None),
    ],
)
def test_quotas_are_rounded_down(second, quota, cores):
    assert quota_cores(second({"": quota})) == cores


def test_the_tightest_group_up_to_the_mount_point_counts(second):
    quotas = {"": "max 100000", "pods": "300000 100000", "pods/mine": "800000 100000", "pods/other": "100000 100000"}
    assert quota_cores(second(quotas, own="/pods/mine/init")) == 3
    assert quota_cores(second(quotas, own="/elsewhere")) is None


def test_a_container_may_see_its_own_group_at_the_mount_point(second):
    quotas = {"": "250000 100000", "inner": "150000 100000"}
    assert quota_cores(second(quotas, own="/docker/0123", root="/docker/0123")) == 2
    assert quota_cores(second(quotas, own="/docker/0123/inner", root="/docker/0123")) == 1
    assert quota_cores(second(quotas, own="/../../other", root="/")) == 2  # outside of what is mounted


def test_quotas_of_the_first_version(first):
    quotas = {"": (-1, 100000), "docker/0123": (350000, 100000), "docker/0123/inner": (-1, 100000)}
    assert quota_cores(first(quotas, own="/docker/0123/inner")) == 3
    assert quota_cores(first(quotas, own="/docker")) is None
    assert quota_cores(first({"": (150000, 100000)}, own="/docker/0123", root="/docker/0123")) == 1


def test_no_control_groups_no_quota(tmp_path):
    assert quota_cores(tmp_path) is None
    write(tmp_path / "cgroup", "nonsense")
    write(tmp_path / "mountinfo", "")
    assert quota_cores(tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "slurm", "cores"), [(None, None, 4), (2, None, 2), (0, None, 1), (9, None, 4), (3, "2", 2), (2, "3", 2)]
)
def test_cores_within_all_limits(quota, slurm, cores, monkeypatch, cpu):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(devices, "quota_cores", lambda: quota)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    if slurm:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", slurm)
    assert usable_cores() == default_workers(cpu) == cores
    used = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    stay_within_cores()
    assert used == [cores]
