"""Tables, verdict and figures say what the records say, and what is committed under results/ is what its records give."""

import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from selftrain.data.voc import PALETTE
from selftrain.record import SCHEMA
from selftrain.report.figures import FIGURES, drawn_by, figure_names, render, write_figures
from selftrain.report.gallery import _with_mask, pool_split
from selftrain.report.matrix import Estimate, Matrix, find_longer, read_studies
from selftrain.report.sheets import sheets, speed_up
from selftrain.report.tables import arms_markdown, fill, regenerate, verdict_markdown
from selftrain.report.verdict import against_paper, compare, verdict
from selftrain.system.errors import UserError
from tests.records import made_up

ROOT = Path(__file__).resolve().parent.parent.parent
RUNS = sorted(path.parent for path in (ROOT / "results").glob("*/records.json"))
STUDIES = ROOT / "results" / "records"
ARMS = ("random", "imagenet", "random + self-training", "imagenet + self-training")


# ---- made-up records --------------------------------------------------------------------------------------------------------


def study(gains=(4.0, 5.0, 6.0), flat=True) -> Matrix:
    """Three seeds; imagenet ahead of random by `gains`, students ahead of their teachers by 1, 1 and -2."""
    records = []
    for seed, gain in enumerate(gains):
        for policy, fraction in (("S1", 1.0), ("S4", 1.0), ("S4", 0.2)):
            base = 30.0 + seed + 10 * fraction
            for arm, score in zip(ARMS, (base, base + gain, base + (1, 1, -2)[seed], base + gain + 1)):
                records.append(made_up(arm, policy, fraction, seed, score, flat=flat))
    return Matrix("made-up", records)


def said(matrix: Matrix, place: str) -> str:
    return "\n".join(dict(verdict(matrix))[place])


def test_differences_are_paired_by_seed_and_intervals_are_students():
    matrix = study()
    found = compare(matrix, "imagenet", "random", "S1", 1.0, "train")
    assert found.effect.mean == pytest.approx(5) and found.effect.half == pytest.approx(
        stats.t.ppf(0.975, 2) / 3**0.5
    )
    assert found.p == pytest.approx(stats.ttest_rel([1 + 4, 2 + 5, 3 + 6], [1, 2, 3]).pvalue)
    assert matrix.score("random", "S1", 1.0).mean == pytest.approx(41) and Estimate.of([]) is None


def test_the_verdict_states_effect_interval_test_and_n_in_one_sentence():
    text = said(study(), "S1, 100 % of the labels")
    assert (
        "Pre-training **helps**: +5.0 AP, 95 % interval +2.5 to +7.5, paired t test over n = 3 seeds, p = 0.013 (by the paper's scores: +0.3 AP)"
        in text
    )
    assert "Self-training from random: **no evidence either way**: +0.0 AP" in text
    assert (
        "Self-training from imagenet **helps**: +1.0 AP with every one of n = 3 seeds: no spread to test"
        in text
    )
    assert "At the cost of a supervised run (6,400 images): choose imagenet over random: +5.0 AP" in text
    assert "Pre-training **hurts**: -5.0 AP" in said(study((-4.0, -5.0, -6.0)), "S4, 20 % of the labels")


def test_the_verdict_begins_with_itself_at_a_glance():
    lines = verdict_markdown(study()).splitlines()
    assert "| ΔAP | Pre-training | Self-training from random | Self-training from imagenet |" in lines
    assert "| S1, 100 % of the labels | helps, +5.0 | no evidence, +0.0 | helps, +1.0 |" in lines


def test_at_the_cost_of_self_training_only_a_supervised_run_of_as_many_images_is_beaten(tmp_path):
    cost = "At the cost of a self-trained one (19,200 images, its teacher's included)"
    text = said(study(), "S1, 100 % of the labels")
    assert (
        f"{cost}: undecided: imagenet + self-training is +1.0 AP" in text
        and "against imagenet, which was given 6,400 images only" in text
    )

    def with_longer(**other) -> str:
        long = [
            made_up(arm, seed=seed, score=score + seed / 10, steps=2400)
            for seed in range(3)
            for arm, score in (("random", 35.0), ("imagenet", 43.0 + 2 * seed))
        ]
        for name, records in (
            ("a", study().records),
            ("b", [r | {"settings": r["settings"] | other} for r in long]),
        ):
            (tmp_path / name).mkdir(exist_ok=True)
            for n, r in enumerate(records):
                (tmp_path / name / f"{n}.json").write_text(json.dumps(r))
        first, _ = read_studies(tmp_path)
        assert first.arms == list(ARMS)  # the tables show no arm of another study
        return said(first, "S1, 100 % of the labels")

    text = with_longer()
    assert (
        f"{cost}: choose imagenet + self-training over imagenet, 3x steps: +1.9 AP" in text
        and f"{cost}: choose random + self-training over random, 3x steps: +5.9 AP" in text
    )
    assert "given 6,400 images only" in with_longer(lr=1.0)  # differs in more than the steps


def longer(matrix: Matrix, *records: dict) -> Matrix:
    find_longer(matrix, [Matrix("longer", list(records))])
    return matrix


def test_a_long_run_of_another_start_decides_nothing_for_the_best_one():
    text = said(
        longer(study(), *(made_up("random", seed=s, score=35.0 + s, steps=2400) for s in range(3))),
        "S1, 100 % of the labels",
    )
    assert (
        "undecided: imagenet + self-training is +1.0 AP" in text
        and "against imagenet, which was given 6,400 images only" in text
    )
    assert "choose random + self-training over random, 3x steps: +5.0 AP" in text


def test_arms_are_compared_at_their_own_cost():
    """The student of a student has seen more than the long run was given."""
    twice = [made_up("random + self-training x2", seed=s, score=50.0 + s) for s in range(3)]
    for r in twice:
        r["pseudo_labels"]["teacher_cell"] = made_up("random + self-training", seed=r["settings"]["seed"])[
            "key"
        ]
    matrix = Matrix(
        "rounds",
        [r for r in study().records if (r["settings"]["policy"], r["settings"]["fraction"]) == ("S1", 1.0)]
        + twice,
    )
    text = said(
        longer(matrix, *(made_up("imagenet", seed=s, score=44.0 + 2 * s, steps=2400) for s in range(3))),
        "S1, 100 % of the labels",
    )
    assert (
        "one (19,200 images, its teacher's included): choose imagenet + self-training over imagenet, 3x steps: +1.0 AP"
        in text
    )
    assert (
        "one (32,000 images, its teacher's included): undecided: random + self-training x2 is" in text
        and "against imagenet, which was given 6,400 images only" in text
    )


def test_a_student_of_a_teacher_that_still_rose_is_under_trained_too():
    records = [
        made_up(arm, seed=s, score=score + s * s, flat=arm != "imagenet")
        for s in range(3)
        for arm, score in (("imagenet", 40.0), ("imagenet + self-training", 50.0))
    ]
    text = said(
        longer(
            Matrix("x", records),
            *(made_up("imagenet", seed=s, score=45.0 + 2 * s, steps=2400) for s in range(3)),
        ),
        "S1, 100 % of the labels",
    )
    assert "imagenet + self-training is ahead of imagenet, 3x steps, under-trained" in text


def test_one_class_everywhere_is_flat_and_nothing_learned():
    background = made_up("random", metric="mIoU", curve=[3.8, 3.8, 3.8, 3.8], score=3.8)
    background["metrics"]["chance"] = 3.8
    text = said(
        Matrix("x", [background, made_up("imagenet", metric="mIoU", score=20.0)]), "S1, 100 % of the labels"
    )
    assert "**under-trained** (random learned nothing)" in text


def test_what_would_make_a_table_wrong_is_refused():
    with pytest.raises(ValueError, match="teacher .* is missing"):  # it would look too cheap
        Matrix("x", [made_up("imagenet + self-training")])
    with pytest.raises(ValueError, match="two records of one place"):
        Matrix("x", [made_up("random"), made_up("random")])
    with pytest.raises(ValueError, match="not a number"):
        Matrix("x", [made_up("random", score=float("nan"))])


def test_the_verdict_says_where_it_agrees_with_the_paper():
    """Pre-training helps everywhere here: as printed at S1 and with a fifth of the labels, not at S4 with all of them."""
    text = against_paper(study())
    assert (
        "Comparisons that the paper prints too: 8. Of these 4 have its sign, 1 the other one (imagenet against random at S4, 100 %), and 3 are without evidence"
        in text
    )


def test_an_interval_that_spans_zero_is_no_evidence_and_neither_is_one_seed():
    assert "Pre-training: **no evidence either way**" in said(
        study((4.0, -3.0, 6.0)), "S1, 100 % of the labels"
    )
    assert "no evidence between imagenet and random, under-trained: +2.3 AP" in said(
        study((4.0, -3.0, 6.0), flat=False), "S1, 100 % of the labels"
    )
    alone = Matrix("one", [made_up("random", score=30), made_up("imagenet", score=60)])
    assert "**no evidence either way**: +30.0 AP, one seed: no interval" in said(
        alone, "S1, 100 % of the labels"
    )


def test_a_rising_curve_is_under_trained_whatever_the_effect():
    text = said(study(flat=False), "S1, 100 % of the labels")
    assert (
        "Pre-training: **under-trained** (imagenet and random still rising): +5.0 AP" in text
        and "helps" not in text
        and "choose" not in text
    )
    one = Matrix(
        "one",
        [made_up("random", seed=s, score=30 + s, flat=s != 1) for s in range(3)]
        + [made_up("imagenet", seed=s, score=50 + s) for s in range(3)],
    )
    assert "(random still rising)" in said(one, "S1, 100 % of the labels")
    unknown = Matrix("one", [made_up("random", curve=[10, 30, 30]), made_up("imagenet", score=50)])
    assert "**under-trained** (random too few points to tell)" in said(unknown, "S1, 100 % of the labels")
    nothing, fell = made_up("random", curve=[0, 0, 0, 0]), made_up("random", curve=[10, 60, 60, 20])
    assert "(random learned nothing)" in said(
        Matrix("one", [nothing, made_up("imagenet")]), "S1, 100 % of the labels"
    )
    assert "(random fell at the end)" in said(
        Matrix("one", [fell, made_up("imagenet")]), "S1, 100 % of the labels"
    )
    stored = made_up("random", curve=[3, 5, 7, 10]) | {"flattened": True}
    assert "(random still rising)" in said(
        Matrix("one", [stored, made_up("imagenet")]), "S1, 100 % of the labels"
    )  # the curve is what counts
    unpaired = [made_up("random", seed=s, score=30 + s, flat=s != 2) for s in range(3)] + [
        made_up("imagenet", seed=s, score=50 + 2 * s) for s in range(2)
    ]
    assert "Pre-training **helps**" in said(
        Matrix("one", unpaired), "S1, 100 % of the labels"
    )  # the rising seed is in no pair
    taught = [made_up("imagenet", seed=s, score=50 + s, flat=s != 2) for s in range(3)] + [
        made_up("imagenet + self-training", seed=s, score=60 + 2 * s) for s in range(2)
    ]
    assert "Self-training from imagenet **helps**" in said(
        Matrix("one", taught), "S1, 100 % of the labels"
    )  # neither is its teacher


def test_the_choice_never_contradicts_the_verdict_where_arms_have_different_seeds():
    """Random has one lucky seed more: ahead by its own mean, behind on the seeds that both have."""
    records = [made_up("random", seed=s, score=(30, 31, 90)[s]) for s in range(3)] + [
        made_up("imagenet", seed=s, score=(35, 36.1)[s]) for s in range(2)
    ]
    text = said(Matrix("x", records), "S1, 100 % of the labels")
    assert "Pre-training **helps**: +5.1 AP" in text and "choose imagenet over random: +5.1 AP" in text


def test_a_pool_may_be_the_rest_of_each_seeds_own_labels_but_not_two_pools_of_one_seed():
    pools = {0: "p0", 1: "p1"}
    records = [made_up(arm, seed=s) for arm in ARMS for s in pools]
    for r in records:
        if r["round"]:
            r["hashes"]["pool"] = pools[r["settings"]["seed"]]
    assert Matrix("rest", records).score("random", "S1", 1.0).n == 2
    records[-1]["hashes"]["pool"] = "another"
    with pytest.raises(ValueError, match="pool"):
        Matrix("rest", records)


def test_a_study_may_vary_policy_and_fraction_and_nothing_else_between_them():
    other = made_up("random", "S4", 0.2)
    Matrix(
        "x", [made_up("random"), other | {"settings": other["settings"] | {"steps": 3000}}]
    )  # a budget for each policy
    for name, change in (
        ("lr", {"settings": other["settings"] | {"lr": 0.1}}),
        ("split", {"split": "val"}),
        ("test split", {"hashes": other["hashes"] | {"test": "other photos"}}),
        ("recipe", {"recipe": "another"}),
    ):
        with pytest.raises(ValueError, match=f"more than policy, fraction, .*: {name}"):
            Matrix("x", [made_up("random"), other | change])


def test_a_checkpoint_whose_path_speaks_of_self_training_is_no_student():
    path = "checkpoint:/data/self-training/final.pt"
    text = said(
        Matrix(
            "x",
            [
                record
                for seed in range(3)
                for record in (
                    made_up("random", seed=seed, score=30.0 + seed),
                    made_up(path, seed=seed, score=40.0 + 2 * seed),
                )
            ],
        ),
        "S1, 100 % of the labels",
    )
    assert f"Starting from {path} **helps**" in text and "Self-training" not in text


def test_records_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="lr"):
        Matrix(
            "x",
            [
                made_up("random"),
                made_up("imagenet") | {"settings": made_up("imagenet")["settings"] | {"lr": 1.0}},
            ],
        )
    for name, said_of in (("val", "val split"), ("train", "training images")):
        with pytest.raises(ValueError, match=said_of):
            Matrix(
                "x",
                [
                    made_up("random"),
                    made_up("imagenet") | {"hashes": made_up("imagenet")["hashes"] | {name: "other"}},
                ],
            )
    with pytest.raises(ValueError, match="first weights"):  # two files called by one name
        Matrix(
            "x",
            [
                made_up("imagenet"),
                made_up("imagenet", seed=1)
                | {"hashes": made_up("imagenet")["hashes"] | {"weights": "other"}},
            ],
        )


def test_cells_have_mean_interval_and_n_the_published_number_beside_it_and_nothing_where_nothing_ran():
    tables = {sheet.name: sheet for sheet in sheets(study())}
    assert list(tables) == ["table2", "table3", "product", "cost", "steps", "gains"]
    rows = {row[0]: row[1:] for row in tables["table2"].rows}
    assert tables["table2"].header == ["arm", "S1", "S4"]
    assert rows["random"] == ["41.0 ± 2.5, n 3 [39.2]", "41.0 ± 2.5, n 3 [44.3]"]
    assert rows["imagenet + self-training"][0].endswith("n 3") and rows["imagenet + self-training"][
        1
    ].endswith("[44.6]")
    assert {row[0]: row[1:] for row in tables["table3"].rows}["random"] == [
        "33.0 ± 2.5, n 3 [30.7]",
        "41.0 ± 2.5, n 3 [44.3]",
    ]
    few = Matrix(
        "few", [made_up("random", "S1"), made_up("random", "S2"), made_up("imagenet", "S2", flat=False)]
    )
    assert {row[0]: row[1:] for row in sheets(few)[0].rows}["imagenet"] == ["[39.5]", "30.0 †, n 1 [40.7]"]
    numbers = list(csv.DictReader(io.StringIO(tables["table2"].csv())))
    assert numbers[0] | {} == {
        "arm": "random",
        "policy": "S1",
        "fraction": "1.0",
        "labels": "train",
        "metric": "AP",
        "mean": "41.0",
        "half_width_95": "2.4841",
        "n": "3",
        "flattened": "True",
        "published": "39.2",
        "source": "Zoph et al. 2020, arXiv 2006.06882, Table 2",
        "mark": "read",
    }


def test_latex_has_no_character_that_it_would_choke_on():
    for sheet in sheets(study()):
        body = sheet.tex()
        assert not re.search(r"(?<!\\)[%#_]", body) and body.isascii(), sheet.name
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1 and len(lines) == 1 + len(
            sheet.rows
        )


def test_steps_to_target_and_speed_up_are_steps_that_were_evaluated():
    random, quick = made_up("random", curve=[10, 20, 30, 30]), made_up("imagenet", curve=[31, 50, 60, 60])
    slow = made_up("imagenet++", curve=[1, 2, 3, 4])
    rows = {sheet.name: sheet.rows for sheet in sheets(Matrix("x", [random, quick, slow]))}["steps"]
    assert rows == [
        ["S1, 100 %: imagenet", "600", "≤ 200", "≥ 3.0x", "1"],
        ["S1, 100 % †: imagenet++", "600", "not reached", "not reached", "1"],
    ]
    later = made_up("imagenet", curve=[20, 40, 50, 50])
    assert {sheet.name: sheet.rows for sheet in sheets(Matrix("x", [random, later]))}["steps"] == [
        ["S1, 100 %: imagenet", "600", "400", "1.5x", "1"]
    ]
    assert (
        speed_up(600, 200, 200) == (3, "≥ 3.0x")
        and speed_up(200, 600, 200)[1] == "≤ 0.3x"
        and speed_up(200, 200, 200)[1] == "unknown"
    )
    nothing = made_up("random", curve=[0, 0, 0, 0])
    assert not {sheet.name: sheet.rows for sheet in sheets(Matrix("x", [nothing, later]))}["steps"]


def test_a_student_is_billed_for_its_teacher():
    rows = {row[0]: row for row in {sheet.name: sheet.rows for sheet in sheets(study())}["cost"]}
    assert rows["S1, 100 %: random"][1:3] == ["6,400", "1 min 20 s"] and rows[
        "S1, 100 %: random + self-training"
    ][1:3] == ["19,200", "2 min 40 s"]


def test_human_labels_and_pseudo_labels_of_the_same_photos_stand_side_by_side():
    arms = [
        ("imagenet", "train", "train+pseudo_aug", 80),
        ("imagenet", "train_aug", "train_aug", 82),
        ("imagenet + self-training", "train", "train+pseudo_aug", 84),
        ("imagenet++", "train", "train", 85),
    ]
    matrix = Matrix(
        "pascal",
        [
            made_up(arm, "S4", 1.0, 0, score, labels=labels, metric="mIoU", protocol=protocol)
            for arm, labels, protocol, score in arms
        ],
    )
    tables = {sheet.name: sheet for sheet in sheets(matrix)}
    assert tables["table8"].rows == [
        ["imagenet, S4", "80.0, n 1", "82.0, n 1", "84.0, n 1"],
        ["imagenet++, S4", "85.0, n 1 [85.2]", "[84.8 (r)]", "[86.7]"],
    ]
    assert tables["table6"].rows[0][1] == "80.0, n 1"
    assert "Self-training from imagenet: **no evidence either way**: +4.0 mIoU" in said(
        matrix, "S4, 100 % of the labels, train+pseudo_aug"
    )
    assert tables["table6"].rows[-1] == [
        "imagenet + self-training",
        "84.0, n 1",
    ]  # its pool is the aug photos: it stands nowhere else
    whole = Matrix(
        "pascal",
        [*matrix.records, made_up("random", "S4", score=70, metric="mIoU", protocol="train+pseudo_aug")],
    )
    asked = {place: "\n".join(lines) for place, lines in verdict(whole)}
    assert [place for place, text in asked.items() if "Pre-training" in text] == [
        "S4, 100 % of the labels"
    ]  # once, not again beside the pool
    assert [row[0] for sheet in sheets(whole) if sheet.name == "gains" for row in sheet.rows] == [
        "S4, 100 %: imagenet",
        "S4, 100 %: imagenet++",
    ]
    alone = Matrix("aug", [made_up("imagenet++", "S4", labels="train_aug", metric="mIoU")])
    assert sheets(alone)[0].rows == [
        ["imagenet++", "30.0, n 1 [84.8 (r)]"]
    ]  # the number for these labels, not that for the fine ones


def test_figures_are_made_of_what_is_there_and_equal_records_give_equal_bytes(tmp_path):
    matrix = study()
    assert figure_names(matrix) == ["policies", "fractions", "curves", "cost", "labels", "quality"]
    first, again = render(FIGURES["policies"](matrix)), render(FIGURES["policies"](study()))
    assert first == again and first["png"].startswith(b"\x89PNG") and b"<svg" in first["svg"]
    alone = Matrix("one", [made_up("random")])
    assert figure_names(alone) == ["curves", "cost"] and all(
        FIGURES[name](alone) for name in figure_names(alone)
    )


def test_figure_1_has_intervals_and_the_published_curve_dashed():
    axes = FIGURES["policies"](study()).axes[0]
    bars = {container.get_label(): container for container in axes.containers}
    assert set(bars) == set(ARMS) - {"random"}
    ((low, high),) = [path.vertices[:, 1] for path in bars["imagenet"].lines[2][0].get_paths()][:1]
    assert ((low + high) / 2, (high - low) / 2) == pytest.approx((5, stats.t.ppf(0.975, 2) / 3**0.5))
    published_lines = {line.get_label(): line for line in axes.lines if "published" in str(line.get_label())}
    line = published_lines["imagenet, published"]
    assert line.get_ydata() == pytest.approx([0.3, -1.0]) and line.is_dashed() and line.get_color() == "0.45"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["S1", "S4"]
    assert [
        label.get_text() for label in FIGURES["policies"](study(flat=False)).axes[0].get_xticklabels()
    ] == ["S1 †", "S4 †"]


def test_the_curves_of_every_panel_are_in_sight():
    """Panels share their axis: the last may hold the highest curve."""
    matrix = Matrix("x", [made_up("random", "S1", score=10), made_up("random", "S4", score=60)])
    assert all(axes.get_ylim()[1] > 60 for axes in FIGURES["curves"](matrix).axes)


def test_the_labels_axis_is_logarithmic_and_counts_the_labels_of_the_scores_beside_it():
    coarse = [
        made_up("imagenet", "S4", f, labels="train_aug", metric="mIoU") | {"labelled_images": 9999}
        for f in (0.2, 1.0)
    ]
    fine = [made_up("imagenet", "S4", f, metric="mIoU") for f in (0.2, 1.0)]
    axes = FIGURES["labels"](Matrix("x", fine + coarse)).axes[0]
    assert axes.get_xscale() == "log" and list(axes.get_xticks()) == [60, 300]


def test_a_mask_is_drawn_over_its_photo():
    small = np.zeros((2, 2), np.uint8)
    small[0, 1] = 3
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, "PNG")
    drawn = _with_mask(np.full((4, 4, 3), 100, np.uint8), base64.b64encode(buffer.getvalue()).decode())
    assert (drawn[2:] == 100).all() and (drawn[:2, 2:] == 50 + np.asarray(PALETTE)[3] // 2).all()


@pytest.mark.parametrize(
    "photo, images, split",
    [
        ("000000000012.jpg", 1000, "unlabeled"),
        ("000000000012.jpg", 240, "train"),
        ("000000000012.jpg", 77, None),
        ("JPEGImages/train_000012.jpg", 5, "train"),
        ("unlabeled_000001.jpg", 5, "unlabeled"),
    ],
)
def test_the_gallery_draws_the_photos_that_were_labelled(photo, images, split):
    record = {
        "shapes": {"train": 300, "unlabeled": 1000},
        "labelled_images": 60,
        "pseudo_labels": {"examples": [{"photo": photo}], "pool_images": images},
    }
    assert pool_split(record) == split


def test_no_records_is_said_not_drawn(tmp_path):
    for make in (
        lambda: regenerate(read_studies(tmp_path), tmp_path),
        lambda: write_figures(tmp_path, tmp_path),
    ):
        with pytest.raises(UserError, match="study.py makes them"):
            make()


def test_the_readme_blocks_are_filled_and_the_rest_is_left_alone(tmp_path):
    text = "a\n<!-- results/tables/x.md -->\nold\n<!-- end -->\nb\n<!-- results/tables/gone.md -->\nkept\n<!-- end -->\n"
    assert fill(text, tmp_path, {tmp_path / "results" / "tables" / "x.md": "new\n"}) == text.replace(
        "old", "new"
    )


# ---- what is committed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_committed_tables_regenerate_from_their_records_byte_for_byte(folder):
    records = json.loads((folder / "records.json").read_text())
    table = (folder / "table.md").read_text()
    assert arms_markdown(records) == table
    assert table in (ROOT / "README.md").read_text()
    assert sorted({r["arm"] for r in records}) == sorted(ARMS)


def test_studies_regenerate_byte_for_byte():
    if not STUDIES.exists():
        pytest.skip("no study is committed")
    made = regenerate(read_studies(STUDIES), ROOT / "results", ROOT / "README.md")
    for path, content in made.items():
        assert path.read_bytes() == content.encode(), path
    assert (
        set((ROOT / "results" / "tables").iterdir()) <= made.keys()
    )  # and nothing that no record stands behind


def test_figures_of_studies_regenerate_byte_for_byte(tmp_path):
    if not STUDIES.exists():
        pytest.skip("no study is committed")
    drawn = (ROOT / "results" / "figures" / "versions.txt").read_text()
    if drawn != drawn_by():
        pytest.skip(
            f"drawn by {', '.join(drawn.splitlines())}; here are {', '.join(drawn_by().splitlines())}: pixels or compression may differ"
        )
    drawn = write_figures(STUDIES, tmp_path)
    assert {path.name for path in (ROOT / "results" / "figures").iterdir()} == {
        path.name for path in drawn
    } | {"versions.txt"}
    for path in drawn:
        assert path.read_bytes() == (ROOT / "results" / "figures" / path.name).read_bytes(), path.name


def test_records_of_studies_are_of_this_schema():
    if not STUDIES.exists():
        pytest.skip("no study is committed")
    for file in STUDIES.glob("*/*.json"):
        found = json.loads(file.read_text())
        assert found["schema"] == SCHEMA and not found["sources_changed"], file


def test_the_demo_stands_on_three_seeds_and_every_arm_reaches_ten_ap():
    records = json.loads((ROOT / "results" / "coco-demo" / "records.json").read_text())
    assert sorted(r["settings"]["seed"] for r in records if r["arm"] == "random") == [0, 1, 2]
    assert min(r["metrics"]["AP"] for r in records) >= 10 and all(r["split"] == "test" for r in records)


def test_the_readme_shows_the_speed_table():
    table = [
        line for line in (ROOT / "results" / "speed.md").read_text().splitlines() if line.startswith("|")
    ]
    readme = (ROOT / "README.md").read_text()
    assert table and all(line in readme for line in table)


def test_the_segmentation_demo_stands_on_three_seeds_and_every_arm_beats_one_class_everywhere():
    records = json.loads((ROOT / "results" / "pascal-demo" / "records.json").read_text())
    assert sorted(r["settings"]["seed"] for r in records if r["arm"] == "random") == [0, 1, 2]
    assert all(r["metrics"]["mIoU"] > r["metrics"]["chance"] and r["split"] == "test" for r in records)


def test_masks_made_from_coco_are_not_called_pascal_voc():
    records = json.loads((ROOT / "results" / "voc-mini" / "records.json").read_text())
    assert all("COCO-derived, not PASCAL VOC" in r["recipe"] for r in records)
