import pytest

from study.audit import published
from study.audit.published import table1, table2, table3


def test_tables_have_the_papers_rows() -> None:
    assert [len(table()) for table in (table1, table2, table3)] == [8, 14, 12]


def test_first_and_last_printed_values() -> None:
    first, last = table3()[0], table3()[-1]
    assert (first.dice, first.auc, first.adj_printed) == (0.8244, 0.9604, 0.7028)
    assert (last.label, last.method, last.recall, last.best_f1) == ("Weak", "All-in-SAM", 0.8704, 0.7982)
    row = table1()[-1]
    assert (row.podocyte.injured, row.podocyte.normal, row.podocyte.average) == (0.7364, 0.7421, 0.7329)
    assert (row.mesangial.injured, row.mesangial.normal, row.mesangial.average) == (0.6987, 0.7187, 0.7137)


def test_an_empty_cell_is_none_not_zero() -> None:
    xie = table2()[0]
    assert (xie.dice, xie.iou_printed, xie.adj_printed) == (None, None, 0.7063)


def test_a_score_outside_the_unit_interval_names_the_value(tmp_path, monkeypatch) -> None:
    text = (published._FOLDER / "table2.csv").read_text().replace("0.8244", "8.244")
    (tmp_path / "table2.csv").write_text(text)
    monkeypatch.setattr(published, "_FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"8\.244"):
        published.table2.__wrapped__()
