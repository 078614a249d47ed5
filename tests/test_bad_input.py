"""Bad input, over all commands: one line on stderr that names the value, exit status 2, and nothing left on disk.

The list is the documentation. Bad files (checkpoints, records, images, weights, profiles) have their tests in the rooms
that read them.
"""

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_images import make_files, make_vae

from bench.system.command_line import run

ROOT = Path(__file__).parents[1]
GRID, TRAIN, ENCODE, REFERENCE = "bench/run_grid.py", "bench/train.py", "bench/encode_latents.py", "bench/reference.py"
SAMPLE, AUDIT = "bench/sample.py", "bench/audit.py"
DRAW, SUBMIT, JOB = "paper_figures/make_all.py", "slurm/submit.py", "slurm/train.py"
BENCHMARKS, EXTRACTOR = "bench/benchmarks/__main__.py", "bench/prepare/train_extractor.py"

RESULTS, CPU = "--results {results}", "--device cpu"
IMAGES = f"--suite ffhq --data {{images}} --any-count --prepared {{prepared}} {CPU}"
OWN = f"--suite folder {CPU}"
GOOD = {  # options that are right, before those that are not
    GRID: RESULTS,
    TRAIN: RESULTS,
    SAMPLE: RESULTS,
    AUDIT: RESULTS,
    ENCODE: f"{IMAGES} --vae {{vae}} --image-size 32",
    REFERENCE: f"{IMAGES} {RESULTS}",
    DRAW: RESULTS,
    SUBMIT: RESULTS,
    JOB: f"--suite digits {RESULTS}",
    BENCHMARKS: RESULTS,
    EXTRACTOR: "",
}

BAD = [
    (SAMPLE, "--model unet", "unknown model 'unet' in --models: choose from dit, "),
    (SAMPLE, "--out a.gif", "--out a.gif: end its name with .png, .jpg or .webp"),
    (SAMPLE, "--model dit", "no weights of dit-100s-seed0-"),
    (SAMPLE, "--from no/where/at/all", "no/where/at/all: no network to sample from (no such folder, and not a valid"),
    (SAMPLE, "--weights nowhere.pt", "--weights nowhere.pt: cannot be read (No such file or directory)"),
    (SAMPLE, "--weights nowhere.pt --objective x", "--objective x: unknown objective 'x': choose one of velocity, eps"),
    (AUDIT, "", "no records in "),
    (AUDIT, "--cells -1", "--cells -1: must be 0 or more"),
    (AUDIT, "--longest 0", "--longest 0: must be more than 0"),
    (AUDIT, "--suite imagnet", "unknown suite 'imagnet': choose one of digits, "),
    (AUDIT, "--replay", "--replay: give --out DIR, a folder for the trainings that are repeated"),
    (AUDIT, "--replay --out {results}", "results: there are the kept results, which are only read; name another"),
    (GRID, "--weights nowhere.pt", "--weights nowhere.pt: cannot be read (No such file or directory)"),
    (GRID, "--weights nowhere.pt --weights-of unet", "unknown model 'unet' in --models: choose from dit, "),
    (TRAIN, "--weights nowhere.pt", "--weights nowhere.pt: they are trained already; see bench/run_grid.py"),
    (GRID, "--grid smooth", "unknown grid 'smooth': choose all or one of "),
    (GRID, "--suite imagnet", "unknown suite 'imagnet': choose one of digits, "),
    (GRID, "--samples 0", "--samples 0: a Frechet distance needs 2 or more"),
    (GRID, "--samples few", "--samples"),
    (GRID, "--budget 2", "--budget 2: one step of dit takes 28 block passes or more"),
    (GRID, "--budget -3", "--budget"),
    (GRID, "--budget 140 140", "--budget 140 140 repeats a value: give each once"),
    (GRID, "--seeds", "--seeds"),
    (GRID, "--seeds 0 0", "--seeds 0 0 repeats a value: give each once"),
    (GRID, "--seeds -1", "--seeds -1: seeds are 0 or more"),
    (GRID, "--workers 0", "--workers 0: must be 1 or more"),
    (GRID, "--sampels 9", "--sampels"),
    (GRID, "--device abacus", "--device abacus: choose auto, cpu, cuda or cuda:N"),
    (GRID, "--device gpu", "--device gpu: choose auto, cpu, cuda or cuda:N"),
    (GRID, "--device meta", "--device meta: choose auto, cpu, cuda or cuda:N"),
    (GRID, "--budget 1000000", "--budget 1000000: dit spends at most 28000 block passes, 28 at each of the"),
    (GRID, "--train-step 20", "--train-step: no such option; did you mean --train-steps?"),
    (GRID, "--train-steps 20 --train-seconds 5", "--train-seconds 5 --train-steps 20: a training has one budget; give"),
    (GRID, "--budget 140,many", "--budget 140 many: give whole numbers"),
    (GRID, "--plan nothing", "nothing: not expected here"),
    (GRID, "--only xyz", "--only xyz: no cell of grid smoothing has such a key (--list shows them)"),
    (GRID, "--models unet", "unknown model 'unet' in --models: choose from dit, "),
    (GRID, "--models dit --grid reuse", "--models dit: grid reuse has no cells"),
    (GRID, "--account joules", "--account joules: choose one of blocks, macs, seconds"),
    (GRID, "--account macs --budget 27 --models fpdm", "--budget 27: must be 28 or more"),
    (GRID, "--account seconds --list", "not calibrated in these results; run python bench/run_grid.py --grid thr"),
    (GRID, "--account seconds --compile on", "--account seconds --compile on: steps are priced as they run uncompiled"),
    (GRID, "--executor cloud", "--executor cloud: choose one of local, slurm"),
    (GRID, "--executor slurm --profile x100", "profile x100: it should be one of"),
    (GRID, "--results {file}/results", "cannot write there"),
    (GRID, f"--grid accelerator {CPU}", "this grid is for a GPU, and --device cpu is cpu"),
    (GRID, f"--suite ffhq --prepared nowhere {CPU}", "nowhere/ffhq/latents/manifest.json: no such file"),
    (GRID, f"--dinov2-weights {{file}} {CPU}", "suite digits has no Frechet distance in DINOv2's features; leave it"),
    (GRID, f"--suite ffhq --dinov2-weights /nowhere {CPU}", "--dinov2-weights /nowhere: no such file"),
    (GRID, f"--suite fashion --data {{empty}} {CPU}", "no train-images-idx3-ubyte or "),
    (GRID, "--data {images}", "images --suite digits: the suite reads no files there, its images come with a package"),
    (GRID, "--suite imagenet --data {images}", "the suite reads no files there, its networks see latents, in --prepar"),
    (GRID, "--held-out {images}", "--held-out --suite digits: it is for --suite folder; leave it out"),
    (GRID, "--suite fashion --image-size 32", "--image-size --suite fashion: it is for --suite folder; leave it out"),
    (GRID, "--extractor pixels --list", "--extractor --suite digits: it is for --suite folder; leave it out"),
    (GRID, "--classes none", "--classes none: give a number; words are for --suite folder"),
    (GRID, "--suite folder", "--suite folder: the results have no images of yours yet; give --data DIR"),
    (GRID, "--suite folder --held-out {images}", "--held-out: give --data DIR as well"),
    (GRID, "--suite folder --twins gpu --plan", "--twins: give --data DIR as well"),
    (GRID, f"{OWN} --data /nowhere", "/nowhere: no such folder or zip file of images"),
    (GRID, f"{OWN} --data {{empty}}", "empty: no images there; expected a folder or a zip file"),
    (GRID, f"{OWN} --data {{file}}", "file: neither a folder nor a readable zip file"),
    (GRID, f"{OWN} --data {{images}}", "images: 3 images; give 10 or more"),
    (GRID, f"{OWN} --data {{images}} --list", "images: 3 images; give 10 or more"),
    (GRID, f"{OWN} --data {{images}} --image-size 30", "--image-size 30: choose 8, or a multiple of 16 up to 128"),
    (GRID, f"{OWN} --data {{images}} --image-size 0", "--image-size 0: choose 8, or a multiple of 16 up to 128"),
    (GRID, f"{OWN} --data {{images}} --classes 10", "--classes 10 --suite folder: choose from-folders or none"),
    (GRID, f"{OWN} --data {{images}} --classes from-folders", "lies in no folder of a class; put each class in a"),
    (GRID, f"{OWN} --data {{many}} --extractor best", "unknown feature extractor 'best': choose one of digits-cnn, "),
    (
        GRID,
        f"{OWN} --data {{many}} --extractor fashion-cnn",
        "--extractor fashion-cnn: it takes grey images of 32 pixels, these are colour images of 32 pixels; choose",
    ),
    (GRID, f"{OWN} --data {{many}} --extractor inception --inception-weights /no", "--inception-weights /no: cannot"),
    (GRID, f"{OWN} --data {{many}} --held-out {{many}}", "12 of its 12 images are among those of --data"),
    (GRID, f"{OWN} --data {{many}} --held-out {{images}} --samples 12", "3 of its 3 images are among those of --data"),
    (TRAIN, "--data {images}", "images --suite digits: the suite reads no files there"),
    (TRAIN, "--suite folder", "--suite folder: the results have no images of yours yet; give --data DIR"),
    (TRAIN, f"{OWN} --data {{images}}", "images: 3 images; give 10 or more"),
    (DRAW, "--suite folder", "--suite folder: the results have no images of yours yet; give --data DIR"),
    (TRAIN, "--models unet", "unknown model 'unet' in --models: choose from dit, "),
    (TRAIN, "--seed -1", "--seeds -1: seeds are 0 or more"),
    (TRAIN, "--seeds 0,0", "--seeds 0 0 repeats a value: give each once"),
    (TRAIN, "--seed one", "--seed"),
    (TRAIN, "--train-seconds 0", "--train-seconds 0: must be more than 0"),
    (TRAIN, "--train-seconds nan", "--train-seconds nan: must be more than 0"),
    (TRAIN, "--train-steps -5", "--train-steps -5: must be more than 0"),
    (TRAIN, "--batch-size 0", "--batch-size 0: must be 1 or more"),
    (TRAIN, f"--micro-batch 0 {CPU}", "--micro-batch 0: must be 1 or more"),
    (TRAIN, "--device cuda:99", "--device cuda:99: not usable here ("),
    (TRAIN, "--results {file}", "cannot write there"),
    (TRAIN, f"--suite ffhq --prepared nowhere {CPU}", "nowhere/ffhq/latents/manifest.json: no such file"),
    (
        TRAIN,
        "--suite ffhq --size M/2",
        "--size M/2: write one of XS, S, B, L, XL, a slash and a patch size that divides",
    ),
    (TRAIN, "--suite ffhq --size S/3", "--size S/3: write one of"),
    (ENCODE, "--suite cifar", "unknown suite 'cifar': choose one of"),
    (ENCODE, "--suite digits", "--suite digits: trains on pixels and needs no preparation"),
    (ENCODE, "--image-size 36", "--image-size 36: not a multiple of 8"),
    (ENCODE, "--image-size 0", "--image-size 0: must be 1 or more"),
    (ENCODE, "--batch-size 0", "--batch-size 0: must be 1 or more"),
    (ENCODE, "--workers -1", "--workers -1: must be 0 or more"),
    (ENCODE, "--data /nowhere", "/nowhere: no such file or folder"),
    (ENCODE, "--data {empty}", "no images there; expected a folder or a zip file"),
    (ENCODE, "--data {file}", "neither a folder nor a readable zip"),
    (ENCODE, "--vae /nowhere", "--vae /nowhere: cannot be loaded (no such folder"),
    (ENCODE, "--vae {empty}", "cannot be loaded"),
    (ENCODE, "--device abacus", "--device abacus: choose auto, cpu, cuda or cuda:N"),
    (REFERENCE, "--suite nothing", "unknown suite 'nothing'"),
    (REFERENCE, "--suite digits", "--suite digits: trains on pixels and needs no preparation"),
    (REFERENCE, "--batch-size 0", "--batch-size 0: must be 1 or more"),
    (REFERENCE, "--workers -1", "--workers -1: must be 0 or more"),
    (REFERENCE, "--shard-images 0", "--shard-images 0: must be 1 or more"),
    (REFERENCE, "--data /nowhere", "/nowhere: no such file or folder"),
    (REFERENCE, "--inception-weights /nowhere", "--inception-weights /nowhere: cannot be read (No such file"),
    (REFERENCE, "--inception-weights {file}", "not the weights of torch-fidelity's Inception"),
    (
        REFERENCE,
        "--dinov2-weights {file}",
        "not the weights of DINOv2, such as dinov2_vitl14_pretrain.pth (not a state",
    ),
    (REFERENCE, "--results {file}/results", "cannot write there"),
    (DRAW, "--grid smooth", "unknown grid 'smooth': choose all or one of "),
    (DRAW, "--suite imagnet", "unknown suite 'imagnet': choose one of digits, "),
    (DRAW, "--models unet", "unknown model 'unet' in --models: choose from dit, "),
    (DRAW, "--print-tables", "--print-tables"),
    (DRAW, "--samples 1", "--samples 1: a Frechet distance needs 2 or more"),
    (DRAW, "--account seconds", "--account seconds: this suite is not calibrated in these results"),
    (SUBMIT, "--profile x100", "profile x100: it should be one of"),
    (SUBMIT, "--grid smooth", "unknown grid 'smooth': choose all or one of "),
    (SUBMIT, "--profile cpu", "--executor slurm: this machine has no squeue; run this where jobs are submitted"),
    (SUBMIT, "--account seconds --profile cpu", "--account seconds: not calibrated on the cluster yet"),
    (JOB, "--models unet", "unknown model 'unet' in --models: choose from dit, "),
    (JOB, "--time 1", "--time"),
    (BENCHMARKS, "--sizes huge", "--sizes huge: unknown"),
    (BENCHMARKS, "--sizes", "--sizes: name at least one"),
    (BENCHMARKS, "--device abacus", "--device abacus: choose auto, cpu, cuda or cuda:N"),
    (BENCHMARKS, "--compare {file}", "--compare"),
    (BENCHMARKS, "--compare {file} {file}", "not a saved run of `make bench`"),
    (EXTRACTOR, "cnn", "no recipe for extractor 'cnn': choose one of digits-cnn, fashion-cnn"),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with images, an autoencoder, an empty folder and a file of text."""
    folder = tmp_path_factory.mktemp("inputs")
    make_files(folder / "images", 3)
    make_files(folder / "many", 12)
    make_vae(folder / "vae")
    (folder / "empty").mkdir()
    (folder / "file").write_text("neither weights nor images\n")
    return folder


@pytest.fixture
def written(inputs, tmp_path):
    """Writes the arguments of an entry, with paths; and lists what is on disk."""
    named = {name: inputs / name for name in ("images", "many", "vae", "empty", "file")}
    named |= {name: tmp_path / name for name in ("results", "prepared")}

    def arguments(command, bad):
        return [word.format(**named) for word in (*GOOD[command].split(), *bad.split())]

    def listing():
        return sorted((str(path), path.lstat().st_mtime_ns) for top in (inputs, tmp_path) for path in top.rglob("*"))

    return arguments, listing


@pytest.mark.parametrize(("command", "bad", "complaint"), BAD)
def test_bad_input_is_one_line_and_status_2_and_leaves_nothing(command, bad, complaint, written, capfd, monkeypatch):
    arguments, listing = written
    before = listing()
    if command == SUBMIT:
        monkeypatch.setattr("shutil.which", lambda name: None)
    main = pkgutil.resolve_name(command.removesuffix(".py").replace("/", ".") + ":main")
    assert run(main, arguments(command, bad)) == 2
    printed, said = capfd.readouterr()
    assert printed == ""
    (line,) = said.splitlines()
    assert line.startswith("error: ")
    assert complaint in line
    assert listing() == before


def test_there_are_forty_over_all_commands():
    assert len({(command, bad) for command, bad, _ in BAD}) == len(BAD) >= 40
    assert {command for command, *_ in BAD} == GOOD.keys()
    thin = {str(path.relative_to(ROOT)) for path in (ROOT / "bench").glob("*.py")}
    assert thin - {"bench/__init__.py", "bench/__main__.py"} <= GOOD.keys()


@pytest.mark.slow
@pytest.mark.parametrize("command", GOOD)
def test_it_is_so_of_a_process_too(command, written):
    """Without a warning or a traceback of what the process loads."""
    arguments, listing = written
    before = listing()
    bad, complaint = next((bad, complaint) for one, bad, complaint in BAD if one == command)
    result = subprocess.run(
        [sys.executable, command, *arguments(command, bad)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    (line,) = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (2, "")
    assert complaint in line
    assert listing() == before
