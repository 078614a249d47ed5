"""What a record says of the code that made it: in clones, worktrees, archives, copies and installations."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.data.sources import training_source
from bench.evaluation.evaluator import Evaluator
from bench.machine import provenance
from bench.machine.provenance import ROOT, SNAPSHOT, code_digest, commit_of, describe, digest_of, software
from bench.sampling.setting import Setting
from bench.spec.arguments import Places
from bench.training.trainer import Trainer

MODULE = Path("bench/machine/provenance.py")
UNKNOWN = {"commit": None, "dirty": None}
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
    result = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def write(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def unpacked(root):
    """A small copy of the code, as from an archive."""
    for name in (MODULE, "bench/run_grid.py", "models/zoo.py", "README.md", "results/digits/records/a.json"):
        write(root / name, str(name))
    shutil.copy(ROOT / ".gitignore", root)
    return root


@pytest.fixture
def clone(tmp_path):
    """The copy as a repository of its own."""
    root = unpacked(tmp_path / "clone")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    return root


def clean(root):
    return {"commit": git(root, "rev-parse", "HEAD"), "dirty": False}


@pytest.mark.parametrize(
    ("path", "dirty"),
    [
        ("data/x", False),
        ("data/helper.py", False),
        ("notes.txt", False),
        ("prepared/imagenet/latents/manifest.json", False),
        ("results/mine/records/a.json", False),
        ("results/digits/records/a.json", False),  # tracked, but results are no code
        ("bench/notes.txt", False),
        ("README.md", True),
        ("models/zoo.py", True),
        ("bench/data/church.py", True),
        ("paper_figures/mine.py", True),
        ("slurm/mine.py", True),
        ("models/build/mine.py", True),  # git ignores it, Python does not
    ],
)
def test_dirty_is_what_changes_the_code(clone, path, dirty):
    assert commit_of(clone) == clean(clone)
    write(clone / path, "another")
    assert commit_of(clone) == clean(clone) | {"dirty": dirty}


def test_other_changes_of_tracked_files_count_too(clone):
    (clone / "models/zoo.py").unlink()
    assert commit_of(clone)["dirty"]
    git(clone, "add", ".")
    assert commit_of(clone)["dirty"]
    git(clone, "commit", "--quiet", "-m", "second")
    assert commit_of(clone) == clean(clone)


def test_settings_of_the_user_hide_no_new_module(clone):
    git(clone, "config", "status.showUntrackedFiles", "no")
    write(clone / "bench/mine.py")
    assert commit_of(clone)["dirty"]


def test_data_are_ignored_by_git_and_the_room_of_that_name_is_not(clone):
    for path in ("data/x", "bench/data/mine.py"):
        write(clone / path)
    assert git(clone, "status", "--porcelain", "--untracked-files=all") == "?? bench/data/mine.py"


def test_the_repository_around_an_archive_says_nothing_of_the_code(tmp_path, clone):
    inner = unpacked(clone / "vendor/harness")
    assert commit_of(inner) == UNKNOWN
    git(clone, "add", "--force", ".")
    git(clone, "commit", "--quiet", "-m", "with a copy of the harness")
    assert commit_of(inner) == UNKNOWN
    assert commit_of(unpacked(tmp_path / "nowhere")) == UNKNOWN
    assert digest_of(inner) == digest_of(tmp_path / "nowhere")


def test_a_repository_that_does_not_track_the_code_says_nothing_of_it(tmp_path):
    root = unpacked(tmp_path)
    git(root, "init", "--quiet")
    assert commit_of(root) == UNKNOWN  # it has no commit
    git(root, "add", "README.md")
    git(root, "commit", "--quiet", "-m", "notes")
    assert commit_of(root) == UNKNOWN  # but not of this code
    git(root, "add", ".")
    assert commit_of(root) == UNKNOWN


def test_worktrees_and_submodules_have_a_commit(tmp_path, clone):
    git(clone, "worktree", "add", "--quiet", str(tmp_path / "worktree"))
    assert commit_of(tmp_path / "worktree") == clean(clone)
    outer = tmp_path / "outer"
    git(tmp_path, "init", "--quiet", "outer")
    git(outer, "submodule", "--quiet", "add", str(clone), "harness")
    git(outer, "commit", "--quiet", "-m", "another commit")
    assert commit_of(outer / "harness") == clean(clone) != clean(outer)
    write(outer / "harness/bench/mine.py")
    assert commit_of(outer / "harness") == clean(clone) | {"dirty": True}


def test_a_link_to_the_repository_is_the_repository(tmp_path, clone):
    (tmp_path / "link").symlink_to(clone)
    assert commit_of(tmp_path / "link") == clean(clone)


def test_a_hook_of_another_repository_does_not_lend_its_commit(tmp_path, clone, monkeypatch):
    """git sets these for its hooks, and `git rebase --exec` for its commands."""
    known, other = clean(clone), tmp_path / "other"
    git(tmp_path, "init", "--quiet", "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    assert commit_of(clone) == known


def test_code_of_another_owner_has_its_commit(clone, monkeypatch):
    """git refuses such a folder, as containers have it, for fear of what its settings run; this code runs already."""
    known = clean(clone)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(subprocess.CalledProcessError):
        git(clone, "status")
    assert commit_of(clone) == known


def test_without_git_nothing_is_known(clone, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit_of(clone) == UNKNOWN


def test_asking_leaves_the_repository_as_it_is(clone):
    os.utime(clone / "README.md", (1, 1))  # `git status` would write the new time into its index
    before = {path: path.stat() for path in (clone / ".git").rglob("*")}
    assert commit_of(clone) == clean(clone)
    assert {path: path.stat().st_mtime_ns for path in (clone / ".git").rglob("*")} == {
        path: stat.st_mtime_ns for path, stat in before.items()
    }


@pytest.mark.parametrize("dirty", [False, True])
def test_a_copy_for_jobs_has_the_commit_of_its_source_until_it_is_changed(clone, tmp_path, dirty):
    copy = unpacked(clone / "results/digits/slurm/code/0123456789ab")  # inside of the repository, as copies are
    write(copy / SNAPSHOT, json.dumps({"commit": "c", "dirty": dirty, "code_digest": digest_of(copy)}))
    assert commit_of(copy) == {"commit": "c", "dirty": dirty}
    write(copy / "models/zoo.py", "changed")
    assert commit_of(copy) == {"commit": "c", "dirty": True}


@pytest.mark.parametrize("stamp", ["", "{", "[]", '{"commit": "c"}'])
def test_a_damaged_stamp_says_nothing(tmp_path, stamp):
    root = unpacked(tmp_path)
    write(root / SNAPSHOT, stamp)
    assert commit_of(root) == UNKNOWN


def test_a_stamp_in_a_repository_does_not_count(clone):
    write(clone / SNAPSHOT, json.dumps({"commit": "c", "dirty": False, "code_digest": digest_of(clone)}))
    assert commit_of(clone) == clean(clone)


def test_the_digest_is_of_the_code_and_nothing_else(tmp_path, clone):
    before = digest_of(clone)
    assert digest_of(unpacked(tmp_path / "archive")) == before
    for path in ("README.md", "data/helper.py", "paper_figures/mine.py", "results/digits/records/a.json"):
        write(clone / path, "another")
    assert digest_of(clone) == before
    write(clone / "models/zoo.py", "another")
    assert digest_of(clone) != before


def test_a_record_without_a_commit_has_the_digest_of_its_code(cpu, monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: UNKNOWN)
    monkeypatch.setattr(provenance, "software", provenance.software.__wrapped__)
    environment = describe(cpu)
    assert (environment["commit"], environment["dirty"]) == (None, None)
    assert environment["code_digest"] == code_digest() == digest_of(ROOT)


def test_what_changes_during_a_run_is_not_what_ran(tiny_run, store, cpu, monkeypatch):
    """Trainer and evaluator ask when they are made; the record is written when they are done."""
    run = tiny_run("dit")
    with training_source(run, Places(), lambda action: action()) as source:
        for make in (lambda: Trainer(run, store, cpu, source), lambda: Evaluator(Setting(store, cpu))):
            software.cache_clear()
            make()
            assert software.cache_info().currsize == 1
    known = describe(cpu)
    monkeypatch.setattr(provenance, "commit_of", lambda root: {"commit": "later", "dirty": True})
    monkeypatch.setattr(provenance, "digest_of", lambda root: "later")
    assert describe(cpu) == known
