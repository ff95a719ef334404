"""`allinsam train` from a folder to a model file, and what it says to a folder that is not in order."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import typer
from roifile import ROI_TYPE, ImagejRoi
from typer.testing import CliRunner

from allinsam_core import model as models
from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.predict import BoxMask
from allinsam_core.data.case import Case
from allinsam_core.learning.instances import InstanceSettings
from study.tools import folder, split
from study.tools import train as command
from study.tools.compare import Comparison
from study.tools.formats import write_geojson
from study.tools.formats.imagej import write_imagej

app = typer.Typer()
app.command()(command.train)


@pytest.fixture(autouse=True)
def base(tiny_sam: sams.Sam, monkeypatch: pytest.MonkeyPatch) -> sams.Sam:
    monkeypatch.setattr(sams, "load_mini", lambda name="mini": tiny_sam)
    return tiny_sam


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def nuclei(seed: int) -> np.ndarray:
    """(96, 96) labels 1 to 4: discs."""
    y, x = np.mgrid[:96, :96]
    rng = np.random.default_rng(seed)
    labels = np.zeros((96, 96), np.uint16)
    for number, (cy, cx) in enumerate([(24, 24), (24, 70), (70, 24), (70, 70)], start=1):
        dy, dx = rng.integers(-6, 7, 2)
        labels[(y - cy - dy) ** 2 + (x - cx - dx) ** 2 < 100] = number
    return labels


def write_image(path: Path, labels: np.ndarray) -> None:
    grey = np.where(labels > 0, 70, 220) + np.random.default_rng(0).integers(0, 20, labels.shape)
    image = np.repeat(grey[..., None].astype(np.uint8), 3, axis=2)
    tifffile.imwrite(path, image, photometric="rgb", resolution=(40_000, 40_000), resolutionunit=3)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three annotated images, outlines of two classes, and one image without annotation."""
    home = tmp_path / "data"
    home.mkdir()
    for number, name in enumerate(("p1_a", "p1_b", "p2_a", "p3_a")):
        write_image(home / f"{name}.tif", nuclei(number))
        if name != "p3_a":
            write_geojson(home / f"{name}.geojson", nuclei(number), ["round", "round", "dark", "dark"])
    return home


def reader(tmp_path: Path, **given: object) -> folder.Reader:
    settings: dict = {"sam": sams.load_mini(), "checksum": "x", "cache": tmp_path / "masks", **given}
    return folder.Reader(**settings)


def test_a_folder_becomes_a_model_that_is_told_about_and_not_trained_twice(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    given = (data, "--out", out, "--steps", 5, "--device", "cpu", "--licence", "CC0")
    code, told = call(*given)
    assert code == 0, told
    for said in (
        "1 images without annotation are left out: p3_a.tif",
        "train 2 images of 1 patients or slides: 4 dark, 4 round",
        "val   1 images of 1 patients or slides: 2 dark, 2 round",
        "5 steps for each of 2 classes, at most",
        "GB of memory",
        "scores on 1 val images",
        "zero-shot",
        "Otsu",
        "note: the validation images chose steps and thresholds",
        f"next: allinsam segment IMAGE --model {out}",
    ):
        assert said in told
    about = models.describe(out)
    assert (about.classes, about.spacing, about.licence) == (("dark", "round"), 0.25, "CC0")
    assert {row["method"] for row in about.record["scores"]} == {"trained", "zero-shot", "Otsu"}
    assert about.record["data"]["val"] == ["p2_a"]
    record = json.loads(next(tmp_path.glob("m.safetensors.work/*/run.json")).read_text())
    assert record["config_hash"] == about.record["config_hash"]
    before = out.read_bytes()
    code, told = call(*given)
    assert (code, out.read_bytes()) == (0, before)
    assert "this training is finished" in told
    (data / "p1_a.geojson").unlink()
    write_geojson(data / "p1_a.geojson", nuclei(7), ["round", "round", "dark", "dark"])
    assert "finished" not in call(*given)[1]  # other annotations are another training


def test_what_is_kept_is_chosen_on_the_annotated_images_in_the_models_own_pixels() -> None:
    """A faint object beside the nuclei; at 0.125 µm per pixel the lengths of the file, of 0.25, are half as many."""
    truth = nuclei(0)
    prob = np.where(truth > 0, 0.95, 0.0)
    prob[:12, 40:52] = 0.65
    image = np.zeros((96, 96, 3), np.uint8)
    cases = [Case(part, image, truth, spacing=0.125, source="here", split=part) for part in ("train", "val")]
    about = SimpleNamespace(base="vit_b", classes=("nucleus",), parting=InstanceSettings(smooth=1.5))
    model = SimpleNamespace(about=about, maps=lambda pixels, spacing: prob[None, None])
    found = command.choose_kept(model, cases)  # type: ignore[arg-type]
    assert found.lowest_peak == 0.7
    assert found.smooth == 1.5
    about.base = "mini"
    on_mini = command.choose_kept(model, cases)  # type: ignore[arg-type]
    assert (on_mini.smooth, on_mini.lowest_peak) == (models.KEPT["mini"].smooth, 0.7)  # parted as mini-SAM's, kept anew
    empty = [replace(case, instances=np.zeros_like(truth)) for case in cases]
    assert command.choose_kept(model, empty) == about.parting  # type: ignore[arg-type]


def test_what_was_foretold_from_is_part_of_the_training(data: Path, tmp_path: Path) -> None:
    """The timed steps are the first steps: a model is the same whether or not they were taken."""
    from allinsam_core import training

    asked = command.Request(data, tmp_path / "a.safetensors", steps=6, device="cpu", merge_classes=True)
    model = command.run(asked, lambda _: None)
    cases, _ = command.read(asked, sams.load_mini())
    alone = training.train(cases, tmp_path / "b.safetensors", command._recipe(asked, 0.25), device="cpu")
    assert model.about.thresholds == alone.about.thresholds
    # a step's loss falls by thousandths; attention that an earlier call has folded moves it by millionths
    (own,), (other,) = (each.about.record["training"].values() for each in (model, alone))
    assert [step for step, _ in own["losses"]][-1] == other["losses"][-1][0] == 5
    assert own["losses"][-1][1] == pytest.approx(other["losses"][-1][1], rel=1e-4)


def test_outlines_are_taken_as_drawn_and_rectangles_are_boxes_for_sam(data: Path, tmp_path: Path) -> None:
    truth = nuclei(0)
    pair = folder.Pair(data / "p1_a.tif", data / "p1_a.geojson")
    case = reader(tmp_path).case(pair)
    assert np.array_equal(case.instances, truth)
    assert dict(case.classes) == {1: "round", 2: "round", 3: "dark", 4: "dark"}
    (data / "p1_a.geojson").unlink()
    (data / "p1_a.csv").write_text("x0,y0,x1,y1\n10,10,40,40\n")
    boxed = reader(tmp_path).case(folder.pairs(data)[0])
    assert set(np.unique(boxed.instances)) <= {0, 1}
    assert list((tmp_path / "masks").glob("*.npz"))


def test_masks_of_boxes_are_made_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "p1_a.geojson").unlink()
    (data / "p1_a.csv").write_text("x0,y0,x1,y1\n10,10,40,40\n50,50,90,90\n")
    pair = folder.pairs(data)[0]
    first = reader(tmp_path).case(pair)
    monkeypatch.setattr(folder, "BoxAnnotator", lambda *given: pytest.fail("asked SAM again"))
    assert np.array_equal(reader(tmp_path).case(pair).instances, first.instances)


@pytest.mark.parametrize("kind", ["zip", "coco", "labels", "labels_folder", "points", "points_geojson", "points_roi"])
def test_every_kind_of_annotation_is_read(tmp_path: Path, kind: str) -> None:
    truth = nuclei(3)
    home = tmp_path / "data"
    (home / "labels").mkdir(parents=True)
    write_image(home / "s.tif", truth)
    centres = [np.argwhere(truth == n).mean(axis=0)[::-1] + 0.5 for n in range(1, 5)]
    if kind == "zip":
        write_imagej(home / "s.zip", truth)
    elif kind == "coco":
        from study.tools.formats.export import write_coco
        from study.tools.formats.nucleus import from_labels

        write_coco(home / "s.json", from_labels(truth), truth.shape, "s.tif", ())
    elif kind == "labels":
        imageio.imwrite(home / "s_labels.png", truth)
        (home / "s.csv").write_text("label,class\n1,a\n2,a\n3,b\n4,b\n")
    elif kind == "labels_folder":
        tifffile.imwrite(home / "labels" / "s.tif", truth.astype(np.int32) * 7)
    elif kind == "points":
        rows = "".join(f"{x},{y},k\n" for x, y in centres)
        (home / "s.csv").write_text(f"x,y,class\n{rows}")
    elif kind == "points_geojson":
        features = [
            {"type": "Feature", "geometry": {"type": "Point", "coordinates": [*map(float, c)]}, "properties": {}}
            for c in centres
        ]
        (home / "s.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    else:
        roi = ImagejRoi.frompoints(np.array(centres))
        roi.roitype = ROI_TYPE.POINT
        (home / "s.roi").write_bytes(roi.tobytes())
    pair = folder.pairs(home)[0]
    if not kind.startswith("points"):
        case = reader(tmp_path).case(pair)
        assert np.array_equal(case.instances, truth)
        classes = {"labels": {1: "a", 2: "a", 3: "b", 4: "b"}, "coco": dict.fromkeys(range(1, 5), "nucleus")}
        assert dict(case.classes) == classes.get(kind, {})
        return
    asked: list[np.ndarray] = []
    one = reader(tmp_path, radius=2.5)
    object.__setattr__(one, "_answers", lambda pixels, drawn, boxed, spacing: asked.append(drawn.xyxy) or [])
    with pytest.raises((KeyError, ValueError)):
        one.case(pair)
    expected = [[x - 10, y - 10, x + 10, y + 10] for x, y in centres]
    assert asked[0] == pytest.approx(np.clip(expected, 0, 96), abs=1e-3)


@pytest.mark.parametrize("value", [1, 128, 255])
def test_a_mask_is_no_label_image_of_one_nucleus(tmp_path: Path, value: int) -> None:
    write_image(tmp_path / "s.tif", nuclei(3))
    imageio.imwrite(tmp_path / "s_labels.png", ((nuclei(3) > 0) * value).astype(np.uint8))
    with pytest.warns(UserWarning, match=r"s_labels\.png: a mask, its 4 connected parts are taken as nuclei"):
        case = reader(tmp_path).case(folder.pairs(tmp_path)[0])
    assert sorted(np.unique(case.instances, return_counts=True)[1]) == sorted(
        np.unique(nuclei(3), return_counts=True)[1]
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda labels: 1 + labels % 2 * (labels > 0), "and none that is 0"),
        (lambda labels: np.where(labels > 0, 1 + np.indices(labels.shape)[0] // 2 % 2, 0), "like a class map"),
        (lambda labels: (labels > 0) * 200 + np.indices(labels.shape).sum(0) // 4, "like a probability map"),
    ],
)
def test_a_map_that_does_not_tell_nuclei_apart_is_refused(tmp_path: Path, spoil: object, said: str) -> None:
    write_image(tmp_path / "s.tif", nuclei(3))
    imageio.imwrite(tmp_path / "s_labels.png", spoil(nuclei(3)).astype(np.uint8))  # type: ignore[operator]
    with pytest.raises(ValueError, match=rf"s_labels\.png: .*{said}.*expected a label image") as caught:
        reader(tmp_path).case(folder.pairs(tmp_path)[0])
    assert "\n" not in str(caught.value)
    values = np.unique(imageio.imread(tmp_path / "s_labels.png"))
    (tmp_path / "s.csv").write_text("label,class\n" + "".join(f"{v},a\n" for v in values))
    assert reader(tmp_path).case(folder.pairs(tmp_path)[0]).instances.any()  # said to be labels


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--radius", "nan"), "'nan' is no number"),
        (("--radius", -3), "--radius: -3 µm, expected that of a nucleus"),
        (("--radius", 2500), "--radius: 2500 µm, expected that of a nucleus"),
        (("--seed", -1), "Invalid value for '--seed'"),
        (("--seed", 10**30), "Invalid value for '--seed'"),
        (("--out", "."), ".: is a folder, expected the model file"),
    ],
)
def test_an_option_out_of_its_range_is_named(data: Path, tmp_path: Path, options: tuple, said: str) -> None:
    code, told = call(data, "--out", tmp_path / "m.safetensors", "--steps", 1, *options)
    assert code == 2
    assert said in told
    assert not (tmp_path / "m.safetensors.work").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda d: [(d / f"{n}.geojson").unlink() for n in ("p1_a", "p1_b")],
            "1 annotated images, expected at least two",
        ),
        (lambda d: (d / "p2_a.tif").write_bytes(b"II*\0"), "p2_a.tif: cannot be decoded"),
        (
            lambda d: write_geojson(d / "p2_a.geojson", np.pad(nuclei(2), 40), ["round", "round", "dark", "dark"]),
            "p2_a.geojson: box",
        ),
        (
            lambda d: write_geojson(d / "p2_a.geojson", nuclei(2), ["round", "round", "dark", "rare"]),
            "class 'rare' is in one image only (p2_a)",
        ),
        (
            lambda d: write_geojson(d / "p2_a.geojson", nuclei(2), ["round", "round", "dark", ""]),
            "p2_a.geojson: 1 of 4 nuclei have no class",
        ),
        (lambda d: write_imagej(d / "p2_a.zip", nuclei(2)), "several annotations: p2_a.geojson, p2_a.zip"),
        (
            lambda d: (
                [write_geojson(d / f"p1_{n}.geojson", nuclei(0), ["round"] * 4) for n in "ab"]
                and write_geojson(d / "p2_a.geojson", nuclei(0), ["dark"] * 4)
            ),
            "class 'dark' is in one image only",
        ),
    ],
)
def test_a_folder_that_is_not_in_order_is_told_so(data: Path, tmp_path: Path, spoil: object, said: str) -> None:
    spoil(data)  # type: ignore[operator]
    code, told = call(data, "--out", tmp_path / "m.safetensors", "--steps", 2)
    assert code == 2
    assert said in told
    assert not (tmp_path / "m.safetensors").exists()


def test_a_point_outside_its_image_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "s.tif", nuclei(0))
    (tmp_path / "s.csv").write_text("x,y\n5,5\n5,97\n")
    with pytest.raises(ValueError, match=r"s\.csv: point 1 of 2 \[5, 97\] is outside its image"):
        reader(tmp_path, radius=2).case(folder.pairs(tmp_path)[0])


def test_images_of_two_resolutions_are_brought_to_the_coarser_one(data: Path, tmp_path: Path) -> None:
    rate = 20_000
    image = tifffile.imread(data / "p2_a.tif")[::2, ::2]
    tifffile.imwrite(data / "p2_a.tif", image, photometric="rgb", resolution=(rate, rate), resolutionunit=3)
    write_geojson(data / "p2_a.geojson", nuclei(2)[::2, ::2], ["round", "round", "dark", "dark"])
    asked = command.Request(data, tmp_path / "m.safetensors")
    cases, said = command.read(asked, sams.load_mini())
    assert any("resampled to 0.5 µm/px" in line for line in said)
    assert {(c.spacing, c.instances.shape) for c in cases} == {(0.5, (48, 48))}
    assert all(len(np.unique(c.instances)) == 5 for c in cases)
    near = command.resampled(cases[0], 0.502)
    assert (near.spacing, near.instances.shape) == (0.502, (48, 48))


def test_an_outline_overrules_the_masks_of_boxes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = nuclei(0)
    drawn = json.loads((data / "p1_a.geojson").read_text())
    ring = [[0, 0], [96, 0], [96, 48], [0, 48], [0, 0]]
    about = {"objectType": "detection"}  # else it would be taken for a region around nuclei
    drawn["features"].append(
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": about}
    )
    (data / "p1_a.geojson").write_text(json.dumps(drawn))
    everything = [BoxMask(0, 0, np.ones((48, 96), bool), 1.0)]
    monkeypatch.setattr(folder.BoxAnnotator, "annotate", lambda *given: everything)
    case = reader(tmp_path, merge_classes=True).case(folder.pairs(data)[0])
    assert np.array_equal(np.where(case.instances == 5, 0, case.instances), truth)
    assert (case.instances[:48] > 0).all()


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["TCGA-AA-0001-01Z-a", "TCGA-AA-0001-01Z-b", "TCGA-BB-0002-x"], [{0, 1}, {2}]),
        (["S1 [x=0,y=0]", "S1 [x=512,y=0]", "S2 [d=2,x=1,y=1]"], [{0, 1}, {2}]),
        (["s1_a", "s1_b", "s2_a"], [{0, 1}, {2}]),
        (["img_1", "img_2", "img_3"], [{0}, {1}, {2}]),
        (["a", "b"], [{0}, {1}]),
    ],
)
def test_patients_are_read_from_names(names: list[str], groups: list[set[int]]) -> None:
    found = split.patients(names)
    assert [{i for i, n in enumerate(names) if found[n] == p} for p in dict.fromkeys(found.values())] == groups


def some(names: str, kinds: str = "") -> list[Case]:
    image, labels = np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=np.uint16)
    pairs = zip(names.split(), kinds.split() or [""] * 99, strict=False)
    return [Case(n, image, labels, 0.25, "t", classes={1: k} if k else {}) for n, k in pairs]


def test_a_table_says_patient_and_split(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("image,patient,split\na.tif,P,train\nb.tif,P,\nc.tif,Q,val\nd.tif,R,test\ne.tif,S,\n")
    cases, _ = split.assign(some("a b c d e"), table)
    assert [(c.patient, c.split) for c in cases] == [
        ("P", "train"), ("P", "train"), ("Q", "val"), ("R", "test"), ("S", "train"),
    ]  # fmt: skip
    for line, said in (
        ("a.tif,P,val\n", "image 'a.tif'"),
        ("f.tif,P,val\n", "image 'f.tif'"),
        ("", "no line for image 'b'"),
    ):
        table.write_text(f"image,patient,split\na.tif,P,train\n{line}")
        with pytest.raises(ValueError, match=said):
            split.assign(some("a b"), table)
    table.write_text("image,patient,split\na.tif,P,train\nb.tif,P,val\n")
    with pytest.raises(ValueError, match="patient P is in train and in val"):
        split.assign([*some("a b"), *some("c")][:2], table)


def test_both_parts_show_every_class() -> None:
    for seed in range(5):
        cases, _ = split.assign(some("a b c d e f", "x x x y x y"), seed=seed)
        for part in ("train", "val"):
            assert {k for c in cases if c.split == part for k in c.classes.values()} == {"x", "y"}
    with pytest.raises(ValueError, match="cannot be split so that training and validation show every class"):
        split.assign(some("s1_a s1_b s2_a s2_b", "x x y y"))


def test_one_patient_is_split_by_image_and_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,patient\na,P\nb,P\nc,P\n")
    cases, said = split.assign(some("a b c"), tmp_path / "t.csv")
    assert sorted(c.split for c in cases) == ["train", "train", "val"]
    assert "one patient or slide only" in said[0]


def test_a_training_that_did_not_help_is_warned_of() -> None:
    better = Comparison("test", ("a",), {"trained": [0.8], "zero-shot": [0.7], "Otsu": [0.5]}, {n: [v] for n, v in
                        (("trained", 0.5), ("zero-shot", 0.4), ("Otsu", 0.1))})  # fmt: skip
    assert list(better.warnings()) == []
    worse = Comparison("test", ("a",), better.dice, {**better.aji, "Otsu": [0.6]})
    assert list(worse.warnings()) == [
        "warning: training did not help: Otsu is as good or better in aji_kumar; annotate more images, train for more "
        "steps, or stay with it"
    ]


def test_a_coco_file_of_several_images_serves_those_it_names(tmp_path: Path) -> None:
    for name in "abc":
        write_image(tmp_path / f"{name}.tif", nuclei(0))
    images = [{"id": n, "file_name": f"x/{name}.tif", "height": 96, "width": 96} for n, name in enumerate("ab")]
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [5, 5, 20, 20]} for n in range(2)]
    (tmp_path / "all.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": []}))
    assert [(p.image.stem, p.annotation is not None) for p in folder.pairs(tmp_path)] == [
        ("a", True), ("b", True), ("c", False),
    ]  # fmt: skip


def test_the_table_of_segment_names_the_classes_of_its_label_image(tmp_path: Path) -> None:
    """What `segment` wrote and someone corrected can be trained on."""
    from study.tools.formats.export import write_table
    from study.tools.formats.nucleus import from_labels

    labels = nuclei(0)
    write_image(tmp_path / "s.tif", labels)
    imageio.imwrite(tmp_path / "s_instances.png", labels)
    write_table(tmp_path / "s.csv", from_labels(labels, classes=["a", "b", "a", "b"]))
    assert len(list(csv.DictReader((tmp_path / "s.csv").open()))) == 4
    assert dict(reader(tmp_path).case(folder.pairs(tmp_path)[0]).classes) == {1: "a", 2: "b", 3: "a", 4: "b"}
