from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from study.pages import diagrams
from study.pages.fragments import DARK, LIGHT, Draw, Palette


def drawn(draw: Draw, palette: Palette) -> Figure:
    figure = draw(palette)
    FigureCanvasAgg(figure).draw()
    return figure


@pytest.mark.parametrize("draw", [diagrams.idea, diagrams.framework])
def test_words_stay_on_the_sheet_and_apart(draw: Draw) -> None:
    figure = drawn(draw, LIGHT)
    (axes,) = figure.axes
    spans = [text.get_window_extent() for text in axes.texts if text.get_text()]
    for span in spans:
        assert span.x0 >= 0
        assert span.y0 >= 0
        assert span.x1 <= figure.bbox.width
        assert span.y1 <= figure.bbox.height
    assert not [pair for pair in combinations(spans, 2) if pair[0].overlaps(pair[1])]


@pytest.mark.parametrize("draw", [diagrams.idea, diagrams.framework])
def test_boxes_hold_their_words(draw: Draw) -> None:
    (axes,) = drawn(draw, DARK).axes
    boxes = [box.get_window_extent() for box in axes.patches if isinstance(box, FancyBboxPatch)]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    for text in axes.texts:
        span = text.get_window_extent()
        for box in boxes:
            if text.get_text() and box.overlaps(span):
                assert box.x0 <= span.x0
                assert span.x1 <= box.x1


def test_each_scheme_is_new_in_some_column() -> None:
    for (_, words, news), (_, above, _) in zip(diagrams.SCHEMES[1:], diagrams.SCHEMES, strict=False):
        assert news == tuple(word != before for word, before in zip(words, above, strict=True))
