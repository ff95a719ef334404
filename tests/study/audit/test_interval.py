import pytest

from study.audit.interval import Interval, image, intersection


def test_verdicts_at_the_edges() -> None:
    assert Interval(0.0, 1.0).at_least(0.0) == "holds"
    assert Interval(-1.0, 0.0).at_least(0.0) == "undecided"  # 0 is in it and is ≥ 0
    assert Interval(-1.0, -0.1).at_least(0.0) == "fails"


def test_difference_takes_the_far_corners() -> None:
    assert Interval(2, 3) - Interval(0, 1) == Interval(1, 3)


def test_image_of_a_product_over_a_sign_change() -> None:
    assert image(lambda x, y: x * y, Interval(-1, 2), Interval(-3, 1)) == Interval(-6, 3)


def test_intersection() -> None:
    assert intersection([Interval(0, 2), Interval(1, 3)]) == Interval(1, 2)
    assert intersection([Interval(0, 1), Interval(2, 3)]) is None


def test_a_reversed_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="lower end is above"):
        Interval(1, 0)
