import pytest

from study.audit.ranges import Range, image, intersection


def test_verdicts_at_the_edges() -> None:
    assert Range(0.0, 1.0).at_least(0.0) == "holds"
    assert Range(-1.0, 0.0).at_least(0.0) == "undecided"  # 0 is in it and is ≥ 0
    assert Range(-1.0, -0.1).at_least(0.0) == "fails"


def test_difference_takes_the_far_corners() -> None:
    assert Range(2, 3) - Range(0, 1) == Range(1, 3)


def test_image_of_a_product_over_a_sign_change() -> None:
    assert image(lambda x, y: x * y, Range(-1, 2), Range(-3, 1)) == Range(-6, 3)


def test_intersection() -> None:
    assert intersection([Range(0, 2), Range(1, 3)]) == Range(1, 2)
    assert intersection([Range(0, 1), Range(2, 3)]) is None


def test_a_reversed_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="lower end is above"):
        Range(1, 0)
