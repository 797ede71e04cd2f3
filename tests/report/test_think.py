"""The picture of `harness think`, read back from the figure that is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from harness.errors import ReportError
from harness.records.think import LULC_CLASSES
from harness.report.think import LULC_COLOURS, RANDOM, Row, compose, picture, stretch_rgb

RGB = np.linspace(0, 1, 32 * 32 * 3, dtype=np.float32).reshape(32, 32, 3)
CODES = np.repeat([1, 2, 2, 5], 8)[:, None] * np.ones((1, 32), np.int64)
NDVI = np.linspace(0.1, 0.6, 32 * 32, dtype=np.float32).reshape(32, 32)


def rows(reference: bool = True) -> list[Row]:
    """Land cover and NDVI."""
    own = np.where(NDVI > 0.55, np.nan, NDVI)
    return [Row("LULC", CODES, CODES.T if reference else None), Row("NDVI", NDVI, own if reference else None)]


def drawn(random: tuple[str, ...] = (), **more: Any) -> Figure:
    """The figure."""
    return compose("somewhere", RGB, "some stretch", more.pop("rows", rows()), 10.0, random, **more)


def texts(figure: Figure) -> list[str]:
    """Every text in it."""
    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def panel(figure: Figure, title: str) -> Any:
    """Axes of that title."""
    return next(a for a in figure.axes if a.get_title() == title)


def test_random_weights_stand_in_the_picture_where_true_and_only_there() -> None:
    found = texts(drawn(("base", "LULC tokenizer")))
    assert found.count(RANDOM) == 2  # on each generated panel
    assert any(RANDOM in t and "base, LULC tokenizer" in t for t in found)
    assert not any("random" in t for t in texts(drawn()))


def test_random_weights_are_never_written_on_a_reference() -> None:
    figure = drawn(("base",))
    for modality in ("LULC", "NDVI"):
        assert RANDOM in [t.get_text() for t in panel(figure, f"generated: {modality}").texts]
        assert not panel(figure, f"reference: {modality}").texts


def test_sizes_are_metres() -> None:
    figure = drawn()
    assert any("320 m x 320 m, 32 x 32 px of 10 m" in t for t in texts(figure))
    for title in ("input: S2L2A, B04 B03 B02", "generated: LULC", "reference: NDVI"):
        image = panel(figure, title).images[0]
        assert image.get_extent() == [0, 320, 320, 0]


def test_the_legend_names_present_classes_with_their_shares() -> None:
    found = [t for t in texts(drawn()) if t.split()[0].isdigit() and len(t.split()) > 2]
    assert found == ["1 water  25.0 | 25.0", "2 trees  50.0 | 50.0", "5 built area  25.0 | 25.0"]
    assert "2 trees  50.0" in texts(drawn(rows=rows(reference=False)))


def test_every_class_is_drawn_in_its_own_colour() -> None:
    codes = np.tile(np.arange(10), (32, 4))[:, :32]
    image = panel(drawn(rows=[Row("LULC", codes, None)]), "generated: LULC").images[0]
    shown = image.to_rgba(image.get_array())
    for index, colour in enumerate(LULC_COLOURS):
        wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert np.allclose(shown[0, index, :3], wanted)
    assert len(set(LULC_COLOURS)) == len(LULC_COLOURS) == len(LULC_CLASSES)


def test_a_missing_reference_is_said() -> None:
    found = texts(drawn(rows=rows(reference=False)))
    assert "the chip has no LULC" in found
    assert "the chip has no NDVI" in found
    assert not any(t.startswith("reference") for t in found)


def test_nodata_is_grey() -> None:
    image = panel(drawn(), "reference: NDVI").images[0]
    assert np.ma.getmaskarray(image.get_array())[-1, -1]
    assert np.allclose(image.cmap(np.ma.masked)[:3], 0xD9 / 255, atol=1e-6)


def test_words_of_the_caller_stand_below() -> None:
    found = "\n".join(texts(drawn(words=["seed 3"])))
    assert "some stretch" in found
    assert "seed 3" in found


def test_the_picture_is_a_png_of_the_same_bytes_each_time() -> None:
    arguments = ("somewhere", RGB, "some stretch", rows(), 10.0, ("base",))
    first = picture(*arguments)
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture(*arguments) == first


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "nothing was generated"),
        ([Row("DEM", NDVI, None)], "no way to draw DEM"),
        ([Row("NDVI", NDVI[:-1], None)], r"generated NDVI is \(31, 32\)"),
        ([Row("NDVI", NDVI, NDVI[:-1])], r"reference NDVI is \(31, 32\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given: list[Row], words: str) -> None:
    with pytest.raises(ReportError, match=words):
        drawn(rows=given)


def test_one_stretch_serves_all_three_bands_and_is_stated() -> None:
    bands: NDArray[np.float32] = np.stack([np.full((10, 10), v, np.float32) for v in (0, 500, 1000)])
    bands[:, 0, 0] = np.nan
    rgb, words = stretch_rgb(bands)
    assert rgb.shape == (10, 10, 3)
    assert rgb[5, 5].tolist() == pytest.approx([0, 0.5, 1])
    assert rgb[0, 0].tolist() == [1, 1, 1]
    assert words.startswith("stretch 0 to 1000 DN (percentiles 2 and 98")
    with pytest.raises(ReportError, match="no valid pixel"):
        stretch_rgb(np.full((3, 4, 4), np.nan, np.float32))
