import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from study.pages import layers
from study.pages.fragments import Fragments


@pytest.fixture(scope="module")
def made() -> Fragments:
    return layers.fragments(None)  # type: ignore[arg-type]  # reads no record


def test_layers_are_of_one_size_and_light(made: Fragments) -> None:
    sizes = {Image.open(io.BytesIO(content)).size for content in made.files.values()}
    assert sizes == {(512, 512)}
    assert len(made.files) == 8
    assert sum(map(len, made.files.values())) < 300_000


def test_outlines_survive_coding_and_the_rest_is_clear(made: Fragments) -> None:
    picture = np.asarray(Image.open(io.BytesIO(made.files["layers_expert.png"])).convert("RGBA"))
    assert tuple(layers.COLOURS["expert"]) in {tuple(c) for c in picture[picture[..., 3] == 255][:, :3].tolist()}
    assert (picture[..., 3] == 0).mean() > 0.8


def test_the_student_with_if_is_right_more_often_than_the_expert_without(made: Fragments) -> None:
    right = {name: int(made.numbers[f"layers:{name}_right"]) for name in ("expert", "student")}
    assert right["expert"] < right["student"] <= int(made.numbers["layers:truth"])  # the page relies on it


def test_errors_are_what_only_one_of_the_two_has() -> None:
    found, truth = np.array([[True, True, False]]), np.array([[False, True, True]])
    first, both, second = layers.errors(found, truth)[0, :: layers.ZOOM].tolist()
    assert (tuple(first[:3]), both[3], tuple(second[:3])) == (layers.EXTRA, 0, layers.MISSED)


def test_a_box_is_framed_inside_its_own_pixels() -> None:
    picture = layers.boxed(np.array([[2, 1, 6, 5]], np.float32), (8, 8), (1, 2, 3))
    rows, columns = np.nonzero(picture[..., 3])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 9, 4, 11)
    assert picture[5, 7, 3] == 0


def test_a_patch_without_truth_is_refused() -> None:
    patch = layers.cohort(size=128)[0]
    with pytest.raises(ValueError, match="expected a simulated patch"):
        layers._fragments(replace(patch, truth=None), None, None)  # type: ignore[arg-type]
