import json
from contextlib import contextmanager
from itertools import product
from types import SimpleNamespace

import pytest

from bench.benchmarks import scaling
from bench.system.command_line import run
from bench.system.errors import BadInputError
from paper_figures.beyond import scaling as figure


@pytest.fixture
def quick(monkeypatch):
    """The measurement in this process, with calls that were counted beforehand."""
    monkeypatch.setattr(scaling, "usable_cores", lambda: 2)
    monkeypatch.setattr(scaling, "_rate", lambda network, work, batch: 8.0 / batch)

    @contextmanager
    def here(*way):
        yield SimpleNamespace(submit=lambda function, *work: SimpleNamespace(result=lambda: function(*work)))

    monkeypatch.setattr(scaling, "_processes", here)


def test_every_way_is_timed_in_every_round(quick, tmp_path, capsys):
    assert scaling.main(["--batches", "1", "4", "--rounds", "2", "--results", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "performance" / "scaling.json").read_text())["measured"]
    ways = {(row["workers"], row["threads"], row["network"], row["work"], row["batch"]) for row in rows}
    expected = product([(1, 1), (1, 2), (2, 1)], ("dit", "fpdm"), ("sampling", "training"), (1, 4))
    assert ways == {(*way, *rest) for way, *rest in expected}
    for row in rows:  # the rates of two workers are added
        assert row["per_s"] == 2 * [row["workers"] * 8.0 / row["batch"]]
    lines = (tmp_path / "performance" / "scaling.md").read_text().splitlines()
    assert "| dit       | 4       | sampling, images/s | 8 (8 to 8)" in capsys.readouterr().out
    assert "workers 2, threads 1" in lines[0]
    drawn = figure.draw(tmp_path / "performance")
    assert [path.name for path in drawn] == ["scaling.png", "scaling.pdf"]
    assert all(path.stat().st_size > 1000 for path in drawn)


@pytest.mark.parametrize("work", scaling.WORKS)
@pytest.mark.parametrize("network", ["dit", "fpdm"])
def test_processes_time_the_real_work_together(network, work, monkeypatch):
    monkeypatch.setattr(scaling, "settled", lambda execution, *_: scaling.Execution(compiled=False))
    monkeypatch.setattr(scaling, "LEAST_S", 0.01)
    monkeypatch.setattr(scaling, "_together", SimpleNamespace(wait=lambda: None))
    scaling._call.cache_clear()
    assert 0 < scaling._rate(network, work, 2) < 1e4


def test_two_processes_work_at_once(monkeypatch):
    with scaling._processes(2, 1) as pool:
        futures = [pool.submit(scaling._rate, "fpdm", "sampling", 1) for _ in range(2)]
        assert all(future.result() > 0 for future in futures)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batches", "0"], "--batches 0: give sizes of 1 or more"),
        (["--rounds", "0"], "--rounds 0: must be 1 or more"),
    ],
)
def test_bad_input(words, message, capsys):
    assert run(scaling.main, words) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_figure_of_a_damaged_file(tmp_path):
    assert figure.draw(tmp_path) == []
    (tmp_path / "scaling.json").write_text("[]")
    with pytest.raises(BadInputError, match=r"scaling\.json is damaged .*restore it"):
        figure.draw(tmp_path)
