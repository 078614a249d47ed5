"""Pictures: the note below a figure is its caption as text; what is too large is compressed, and not cut."""

import base64
import io

import numpy as np
from PIL import Image

from paper_figures import style
from paper_figures.report.figures import LARGEST, WIDEST_PX, picture


def decoded(source):
    kind, _, data = source.partition(";base64,")
    return kind, base64.b64decode(data)


def test_the_note_of_a_figure_is_its_caption(tmp_path):
    figure, _ = style.panels(1, 2, height_in=2)
    style.note(figure, "Fréchet distance ≤ 1; " + "a note that is wrapped to the width of the figure " * 4)
    png, _ = style.save(figure, tmp_path / "noted")
    found = picture(png, "Figure 4", "Quality.", "the protocol")
    assert found.caption.startswith("Fréchet distance ≤ 1; a note that")
    assert found.caption.endswith("of the figure.")
    assert "\n" not in found.caption
    assert found.alternative == "Figure 4. Quality."
    assert decoded(found.source) == ("data:image/png", png.read_bytes())
    assert abs(found.width - 125 * style.PAGE_WIDTH_IN) < 40
    assert found.is_wide


def test_a_figure_without_a_note_has_the_protocol(tmp_path):
    figure, _ = style.panels(1, 1, height_in=2)
    png, _ = style.save(figure, tmp_path / "bare")
    assert picture(png, "Figure 4", "Quality.", "the protocol.").caption == "the protocol."
    assert picture(png, "Figure 4", "Quality.", "").caption == ""


def test_photographs_are_compressed(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 2 * WIDEST_PX, 3), np.uint8)
    path = tmp_path / "photographs.png"
    Image.fromarray(noise).save(path)
    assert path.stat().st_size > LARGEST
    found = picture(path, "Figure 11", "Samples.", "")
    kind, content = decoded(found.source)
    assert kind == "data:image/jpeg"
    assert len(content) < path.stat().st_size / 4
    assert Image.open(io.BytesIO(content)).size == (WIDEST_PX, 450)
