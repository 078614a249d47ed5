"""Figures 1, 5, 8 to 12: contact sheets of samples and their captions."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from bench.spec.suites import get_suite
from paper_figures.figures import contact_sheet, fig5_strips, fig8_11_uncurated


@pytest.mark.parametrize("channels", [1, 3])
def test_a_contact_sheet_is_row_major_and_loses_nothing(channels):
    images = np.random.default_rng(0).integers(0, 255, (7, channels, 4, 5), dtype=np.uint8)
    sheet = contact_sheet.contact_sheet(images, columns=3, separator=2)
    assert sheet.shape == (3 * 4 + 2 * 2, 3 * 5 + 2 * 2, 3)
    for i, image in enumerate(images):
        row, column = divmod(i, 3)
        found = sheet[row * 6 : row * 6 + 4, column * 7 : column * 7 + 5]
        assert (found == image.transpose(1, 2, 0)).all(), i
    rest = sheet[12:, 7:]  # beside the seventh image, alone in its row
    assert (rest == contact_sheet.LINE).all()
    assert (sheet[4:6] == contact_sheet.LINE).all()
    assert (sheet[:, 5:7] == contact_sheet.LINE).all()


def test_enlarged_pixels_are_squares():
    images = np.random.default_rng(0).integers(0, 255, (2, 1, 8, 8), dtype=np.uint8)
    large = contact_sheet.enlarge(images)
    factor = large.shape[-1] // 8
    assert large.shape == (2, 1, 8 * factor, 8 * factor)
    assert large.shape[-1] >= contact_sheet.LEAST_PX
    for offset in (0, factor - 1):
        assert (large[:, :, offset::factor, offset::factor] == images).all()
    assert contact_sheet.enlarge(np.zeros((1, 3, 256, 256), np.uint8)).shape == (1, 3, 256, 256)


def test_the_enlarged_pixels_are_shown_as_they_are():
    _, axis = plt.subplots()
    contact_sheet.show(axis, np.zeros((4, 1, 8, 8), np.uint8), columns=2)
    assert axis.images[0].get_interpolation() == "nearest"
    plt.close()


@pytest.mark.parametrize(
    ("classes", "most", "columns"), [(10, 12, 10), (10, 6, 5), (10, 8, 5), (1000, 8, 8), (0, 8, 8), (7, 6, 6)]
)
def test_rows_follow_the_classes_where_their_number_allows_it(classes, most, columns):
    assert contact_sheet.columns_of(classes, most) == columns


@pytest.mark.parametrize(
    ("labels", "columns", "above", "beside"),
    [
        ([0, 1, 2, 0, 1, 2], 3, ["0", "1", "2"], []),
        ([0, 0, 1, 1, 2, 2], 2, [], ["0", "1", "2"]),
        ([0, 1, 2, 3], 2, [], ["0-1", "2-3"]),
        ([], 2, [], []),
    ],
)
def test_classes_stand_above_columns_or_beside_rows(labels, columns, above, beside):
    _, axis = plt.subplots()
    contact_sheet.show(axis, np.zeros((max(len(labels), 4), 1, 96, 96), np.uint8), columns, labels)
    assert [text.get_text() for text in axis.get_xticklabels()] == above
    assert [text.get_text() for text in axis.get_yticklabels()] == beside
    centers = [47.5, 47.5 + 99][: len(above or beside)]  # of 96 pixels each, lines of 3 between them
    assert [*(axis.get_xticks() if above else axis.get_yticks())][:2] == centers
    plt.close()


def test_samples_are_captioned_with_their_schedule_and_protocol(evidence_of):
    evidence = evidence_of("samples")
    guided = {model: evidence.images(model=model, guidance=4.0) for model in ("dit", "fpdm")}
    titles = [contact_sheet.schedule(evidence, guided[model][0][0]) for model in ("dit", "fpdm")]
    assert titles == ["DiT, 20 steps of 28 blocks", "FPDM, 56 steps of 8 iterations"]
    text = contact_sheet.caption(evidence, guided["dit"][0][0], 20)
    assert "first 20 samples of seed 0" in text
    assert "560 block passes" in text
    assert "guidance 4," in text
    assert "no guidance" in contact_sheet.caption(evidence, evidence.images(guidance=1.0)[0][0], 24)


def test_strips_are_dit_then_fpdm_by_iterations(evidence_of):
    found = fig5_strips.strips(evidence_of("smoothing"))
    assert [cell.run.model for cell, _ in found] == ["dit"] + ["fpdm"] * 13
    assert [cell.iterations for cell, _ in found[1:]] == [1, 2, 3, 5, 6, 8, 12, 18, 26, 33, 38, 54, 68]
    assert {cell.budget for cell, _ in found} == {560}
    assert {len(images) for _, images in found} == {10}


def test_the_figures_of_other_datasets_are_named_with_the_suite_that_they_need(evidence_of, capsys, monkeypatch):
    lines = [
        "Figure 8 (CelebA-HQ) needs suite celebahq",
        "Figure 9 (LSUN Church) needs suite church",
        "Figure 10 (FFHQ) needs suite ffhq",
        "Figure 11 (ImageNet) needs suite imagenet",
    ]
    evidence = evidence_of("samples")
    fig8_11_uncurated.draw(evidence)
    assert capsys.readouterr().out.splitlines() == lines
    suite = replace(get_suite("digits"), dataset="church")
    monkeypatch.setattr(fig8_11_uncurated.style, "save", lambda figure, path: [path])
    assert fig8_11_uncurated.draw(replace(evidence, sized=suite))[0].name == "fig9_church"
    assert capsys.readouterr().out.splitlines() == [line for line in lines if "church" not in line]
