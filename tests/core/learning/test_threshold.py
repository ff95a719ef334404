"""The threshold is that of the best mean Dice, and moving it to 0.5 changes no order of pixels."""

import numpy as np
import pytest

from allinsam_core.learning import threshold
from allinsam_core.metrics import pixel


def picture(*pixels: tuple[float, bool]) -> tuple[np.ndarray, np.ndarray]:
    prob, truth = zip(*pixels, strict=True)
    return np.array([prob], np.float32), np.array([truth])


def test_the_best_mean_dice_by_hand() -> None:
    # alone, the first image would have anything in (0.2, 0.8], the second anything in (0.6, 0.9]
    first = picture((0.8, True), (0.2, False))
    second = picture((0.9, True), (0.6, False), (0.1, False))
    chosen = threshold.choose([first, second])
    assert 0.6 < chosen <= 0.8
    assert chosen == pytest.approx((154 - 0.5) / 255)  # 0.6 is level 153; the next edge is nearest to 0.5


def test_it_is_the_mean_over_images_that_decides() -> None:
    # at 0.5 two images have Dice 1 and the third 0.2; from 0.65 on they have 2/3, 2/3 and 1, in the mean more
    agreed = picture((0.9, True), (0.6, True), (0.1, False))
    third = picture((0.9, True), *[(0.65, False)] * 8)
    assert threshold.choose([agreed, agreed]) == 0.5
    assert 0.65 < threshold.choose([agreed, agreed, third]) <= 0.9


def test_of_equals_the_one_nearest_to_a_half() -> None:
    assert threshold.choose([picture((0.9, True), (0.1, False))]) == 0.5


def test_an_image_without_nuclei_wants_none_marked() -> None:
    assert threshold.choose([picture((0.7, False), (0.2, False))]) > 0.7


def test_without_images_there_is_nothing_to_choose_by() -> None:
    with pytest.raises(ValueError, match="no validation image"):
        threshold.choose([])


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.83])
def test_what_was_the_threshold_becomes_a_half(cut: float) -> None:
    prob = np.linspace(0, 1, 101, dtype=np.float32)
    found = threshold.rescaled(prob, cut)
    assert found.dtype == np.float32
    assert (found[0], found[-1]) == (0, 1)
    assert np.all(np.diff(found) > 0)
    assert threshold.rescaled(np.array([cut]), cut)[0] == pytest.approx(0.5)
    assert np.array_equal(found >= 0.5, prob >= np.float32(cut))


def test_the_judge_then_finds_the_dice_that_was_promised() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((40, 40)) < 0.3
    prob = np.clip(0.6 + 0.3 * truth + 0.1 * rng.standard_normal(truth.shape), 0, 1).astype(np.float32)
    cut = threshold.choose([(prob, truth)])
    judged = pixel.evaluate(threshold.rescaled(prob, cut), truth, eight_bit=True)
    assert judged.dice == pytest.approx(pixel.evaluate(prob, truth, eight_bit=True).best_f1)
    assert judged.dice > pixel.evaluate(prob, truth, eight_bit=True).dice + 0.2


def test_a_cautious_choice_leaves_the_middle_only_for_what_images_agree_on() -> None:
    truth = np.zeros((10, 20), bool)
    truth[:, :10] = True
    low = np.where(truth, 0.3, 0.1)  # right from any threshold between 0.1 and 0.3
    assert threshold.choose([(low, truth)], cautious=True) == 0.5
    assert threshold.choose([(low, truth)] * 3, cautious=True) == pytest.approx(0.3, abs=0.003)
    high = np.where(truth, 0.9, 0.6)
    for images in ([(low, truth), (high, truth)], [(high, truth), (low, truth)]):
        assert threshold.choose(images, cautious=True) == 0.5  # what helps one spoils the other
