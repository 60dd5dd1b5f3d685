"""Records of classification in tables, verdict and figures: nothing there knows which task a record is of."""

from msgspec.structs import replace

from selftrain.record import to_json
from selftrain.report.available import figure_names
from selftrain.report.drawing import render
from selftrain.report.figures import FIGURES
from selftrain.report.matrix import Matrix
from selftrain.report.page import regenerate
from selftrain.report.run_table import arms_table, load_records
from selftrain.system.files import write_json
from tests.records import ARMS, made_up

SHAPES = {"image_size": 33, "train": 60, "unlabeled": 9, "classes": 3, "objects": [1, 1], "difficulty": 0.1}


def records() -> list:
    """Four arms, two policies, two seeds, of scores in percent; students know what their teachers said."""
    made = []
    for seed in (0, 1):
        for policy in ("S1", "S2"):
            for number, arm in enumerate(ARMS):
                r = made_up(arm, policy, seed=seed, score=40.0 + 9 * number + seed, metric="top-1")
                if arm.rounds:
                    examples = [
                        {"photo": f"rings/unlabeled_{n:06d}.png", "caption": f"rings 0.{n}"}
                        for n in range(1, 8)
                    ]
                    labels = r.pseudo_labels | {"examples": examples, "pool_images": 9}
                    r = replace(r, shapes=SHAPES, pseudo_labels=labels)
                made.append(r)
    return made


def test_tables_verdict_and_page_are_made_of_them(tmp_path):
    matrix = Matrix("classify", records())
    files = {path.name: text for path, text in regenerate([matrix], tmp_path / "results").items()}
    table = files["classify-policies.md"]
    assert "Policies, all labels (top-1, test split)" in table and "49.5" in table
    page = files["README.md"]
    assert "imagenet" in page and "+9.0 top-1" in page and "classify-gallery.png" in page


def test_one_run_is_a_table_with_every_score(tmp_path):
    made = [r for r in records() if r.settings["policy"] == "S1"]
    write_json(tmp_path / "records.json", [to_json(r) for r in made])
    text = "\n".join(arms_table(load_records([tmp_path / "records.json"])).grid())
    for words in ("top-1", "top-5", "macro accuracy", "Δtop-1 to random", "steps to random's top-1"):
        assert words in text, words


def test_figures_and_the_gallery_with_captions(tmp_path):
    matrix = Matrix("classify", records())
    assert figure_names(matrix) == ["frontier", "policies", "curves", "quality", "gallery"]
    figure = FIGURES["gallery"](matrix)
    captions = [axes.get_xlabel() for axes in figure.axes]
    assert captions[:6] == [f"rings 0.{n}" for n in range(1, 7)]
    for name in figure_names(matrix):
        assert render(FIGURES[name](matrix))["png"].startswith(b"\x89PNG"), name
