import pytest

from study.audit import averages


def test_weight_by_hand() -> None:
    assert averages.injured_weight(0.8, 0.6, 0.65) == pytest.approx(0.25)


def test_common_weights_of_the_sam_l_rows() -> None:
    podocyte, mesangial = averages.common_weight("podocyte"), averages.common_weight("mesangial")
    assert podocyte.low <= 0.534 <= podocyte.high
    assert mesangial.low <= 0.606 <= mesangial.high
    assert podocyte.high - podocyte.low < 0.004


def test_which_rows_fit() -> None:
    assert [fit.fits for fit in averages.average_fits("podocyte")] == [True] * 6 + [False] * 2
    assert [fit.fits for fit in averages.average_fits("mesangial")] == [False] + [True] * 5 + [False] * 2


@pytest.mark.parametrize(
    ("cell", "index", "expected"),
    [("podocyte", 6, 0.7442), ("mesangial", 6, 0.7203), ("mesangial", 7, 0.7066), ("mesangial", 0, 0.6885)],
)
def test_expected_averages(cell, index, expected) -> None:
    assert averages.average_fits(cell)[index].expected.centre == pytest.approx(expected, abs=1e-4)


def test_one_average_lies_outside_its_inputs() -> None:
    (only,) = averages.outside_inputs()
    assert (only.row.method, only.row.annotator, only.cell) == ("All-in-SAM", "Students", "podocyte")
    assert only.weight.low > 1  # below both: more than all the weight on the lower one


def test_equal_inputs_are_refused(monkeypatch) -> None:
    from dataclasses import replace

    from study.audit.published import table1

    row = table1()[0]
    flat = replace(row, podocyte=replace(row.podocyte, normal=row.podocyte.injured))
    monkeypatch.setattr(averages, "table1", lambda: (flat,))
    with pytest.raises(ValueError, match="any weight fits"):
        averages.implied_weights("podocyte")
