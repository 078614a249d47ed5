"""What a reader sees first: legends, labels, ticks and titles of the paper's figures."""

from itertools import pairwise

import matplotlib.pyplot as plt
import pytest
from made_up import SEEDS, rewrite

from models.diffusion.samplers import SAMPLERS
from paper_figures import style
from paper_figures.beyond import cost_model, memory, samplers, throughput
from paper_figures.evidence.comparisons import twins
from paper_figures.figures import fig4_smoothing, fig6a_reuse, fig8_11_uncurated, training_loss

ITERATIONS = [1, 2, 3, 5, 6, 8, 12, 18, 26, 33, 38, 54, 68]


@pytest.fixture
def draw(monkeypatch, evidence_of):
    """Draw a module from complete records: draw(module) -> figures by file name."""
    drawn = {}
    monkeypatch.setattr(style, "save", lambda figure, path: drawn.setdefault(path.name, figure) and [path])

    def by_name(module, evidence=None):
        module.draw(evidence or evidence_of(module.GRID))
        return drawn

    yield by_name
    plt.close("all")


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_figure_4_explains_line_and_band_and_has_a_tick_at_every_k(draw):
    figure = draw(fig4_smoothing)["fig4_smoothing"]
    assert sorted(legend(figure)) == ["DiT (28 blocks)", "DiT's 95% interval", "DiT's FD, at every k", "FPDM"]
    assert [axis.get_title() for axis in figure.axes] == [f"{budget} block passes" for budget in (140, 280, 560)]
    for axis in figure.axes:
        assert axis.get_xticks().tolist() == ITERATIONS
        texts = [text.get_text() for text in axis.get_xticklabels()]
        assert [text.strip() for text in texts] == [*map(str, ITERATIONS)]
        assert [int(text) for text in texts if text.startswith("\n")] == [6, 33, 68]  # lower: no room beside 5, 26, 54
        marker = next(line for line in axis.lines if line.get_label().startswith("DiT ("))
        assert marker.get_zorder() > max(line.get_zorder() for line in axis.lines if line is not marker)


def test_figure_6a_has_the_paired_ratio_beside_the_curves(draw, evidence_of):
    figure = draw(fig6a_reuse)["fig6a_reuse"]
    curves, quotients = figure.axes
    assert legend(figure) == ["with reuse", "without reuse"]
    assert quotients.get_ylabel() == "FD with / without reuse"
    table = fig6a_reuse.pairs(evidence_of("reuse").frame)
    (bars,) = quotients.containers
    assert bars.lines[0].get_xydata().tolist() == table[["iterations", "ratio"]].to_numpy().tolist()
    assert [end[1][1] for end in bars.lines[2][0].get_segments()] == pytest.approx(table.ratio_high.tolist())
    assert curves.get_xticks().tolist() == ITERATIONS


def test_figures_8_to_11_have_whole_rows_of_classes(draw):
    (axis,) = draw(fig8_11_uncurated)["fig8_11_digits"].axes
    assert [text.get_text() for text in axis.get_xticklabels()] == [*map(str, range(10))]
    height, width, _ = axis.images[0].get_array().shape
    assert (height + 3) * 10 == (width + 3) * 4  # 40 of 48 images, lines of 3 pixels between them


def test_losses_at_different_iterations_are_in_different_panels(draw):
    figure = draw(training_loss)["training_loss"]
    assert [axis.get_title() for axis in figure.axes] == [
        "DiT, 9 training steps", "FPDM, 9 training steps,\nat the iterations drawn in training"
    ]  # fmt: skip
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_samplers_of_equal_quality_stand_side_by_side(draw, evidence_of):
    figure = draw(samplers)["samplers"]
    assert legend(figure) == [one.label for one in SAMPLERS.values()]
    assert [axis.get_title() for axis in figure.axes] == ["DiT", "best FPDM"]
    table = twins(evidence_of("samplers"))
    for axis, name in zip(figure.axes, ("dit", "fpdm"), strict=True):
        for bars, (_, some) in zip(axis.containers, table.groupby("sampler", sort=False), strict=True):
            assert bars.lines[0].get_ydata().tolist() == some[f"{name}_fd"].tolist()
        places = [bars.lines[0].get_xdata()[0] for bars in axis.containers]
        assert all(1.05 < b / a < 1.15 for a, b in pairwise(places))


def test_the_floor_of_seconds_lies_below_and_is_named(draw, evidence_of):
    figure = draw(throughput)["throughput"]
    assert "floor: multiplications alone" in legend(figure)
    assert figure.axes[0].get_ylabel() == "seconds an image"
    table = throughput.runs(evidence_of("throughput"))
    row = table[(table["size"] == "digits") & (table.model == "dit")]
    bars, floors = figure.axes[0].containers[0], figure.axes[0].collections
    assert bars.lines[0].get_ydata().tolist() == pytest.approx((1 / row.images_per_s).tolist())
    dashes = [segment[0][1] for some in floors for segment in some.get_segments() if segment[0][1] == segment[1][1]]
    assert set((1 / row.floor_images_per_s).round(9)) <= {round(float(y), 9) for y in dashes}


def test_memory_has_one_scale_and_its_diamonds_in_the_legend(draw, write_records, tmp_path):
    evidence = write_records(tmp_path, "memory", seeds=SEEDS)
    evidence = rewrite(
        evidence,
        lambda cell: cell.grad_checkpointing,
        metrics=lambda record: record.metrics | {"peak_bytes": 2**30},
    )
    figure = draw(memory, evidence)["memory"]
    assert "published (Table 1)" in legend(figure)
    assert len({axis.get_xlim() for axis in figure.axes}) == 1


def test_the_cost_model_shows_residuals_only_and_explains_open_markers(draw):
    figure = draw(cost_model)["cost_model"]
    assert len(figure.axes) == len(cost_model.MODELS)
    assert figure.axes[0].get_ylabel() == "predicted / measured, less 1"
    assert legend(figure)[-2:] == ["digits, batch 125, fp32", "XL/2, batch 1, fp32"]
