import pytest

from study.audit.rankings import TABLE2_METRICS, decide, duels, label_effects, leaders


@pytest.mark.parametrize(
    ("ours", "rival", "verdict"),
    [
        (0.6974, 0.6976, "fails"),
        (0.7001, 0.7000, "undecided"),
        (0.7, 0.7, "undecided"),
        (0.7002, 0.7, "holds"),
    ],
)
def test_one_unit_in_the_last_place_decides_nothing(ours, rival, verdict) -> None:
    assert decide(ours, rival) == verdict


def test_complete_labels_nnunet_leads_in_four_of_21() -> None:
    lost = [(duel.training_data, duel.metric) for duel in duels("Complete") if duel.verdict != "holds"]
    assert lost == [("All", "Precision"), ("All", "bestF1"), ("All", "IoU"), ("0.5%", "Recall")]
    assert len(duels("Complete")) == 21


def test_weak_labels_nnunet_leads_in_recall_and_once_in_best_f1() -> None:
    lost = [(duel.training_data, duel.metric) for duel in duels("Weak") if duel.verdict != "holds"]
    assert lost == [("All", "Recall"), ("All", "bestF1"), ("4%", "Recall"), ("0.5%", "Recall")]


def test_on_table_2s_own_columns_weak_labels_the_claim_holds() -> None:
    assert {duel.verdict for duel in duels("Weak", TABLE2_METRICS)} == {"holds"}


def test_table_1_expert_averages_are_led_by_all_in_sam() -> None:
    assert [leader.verdict for leader in leaders("average") if leader.annotator == "Expert"] == ["holds"] * 2


def test_table_1_cells_that_another_method_leads() -> None:
    lost = [(x.annotator, x.cell, x.column, x.best.method) for x in leaders() if x.verdict == "fails"]
    assert lost == [
        ("Expert", "podocyte", "injured", "SAM-L random"),
        ("Students", "podocyte", "normal", "MOCL"),
        ("Students", "podocyte", "average", "MOCL"),
        ("Students", "mesangial", "injured", "MOCL"),
    ]


def test_weak_against_complete_labels() -> None:
    assert [round(effect.difference.centre, 4) for effect in label_effects()] == [-0.0008, -0.0035, 0.0057]
