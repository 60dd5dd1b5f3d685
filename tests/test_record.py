"""Records are read whatever their schema and refused where they are none."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from selftrain import record
from selftrain.system.errors import UserError
from tests.records import RANDOM_STUDENT, made_up

ROOT = Path(__file__).resolve().parent.parent


def test_what_is_written_is_read_again(tmp_path):
    made = made_up(RANDOM_STUDENT, seed=3, score=31.5)
    record.write(tmp_path / "record.json", made)
    assert record.read(tmp_path / "record.json") == made and record.read(tmp_path / "none.json") is None
    assert record.read_many(tmp_path / "record.json") == [made]
    assert (made.seed, made.score) == (3, 31.5)
    (tmp_path / "records.json").write_text(json.dumps([record.to_json(made)] * 2))
    assert record.read_many(tmp_path / "records.json") == [made, made]


def test_a_record_of_an_older_schema_is_brought_up_to_this_one():
    made = replace(made_up(RANDOM_STUDENT), scored_images=0)
    old = record.to_json(made) | {"schema": 2, "arm": "random + self-training", "start": "random", "round": 1}
    for name in ("resampled", "scored_images", "contrasts", "tuned"):
        del old[name]
    assert record.parse(record.to_json(made) | {"schema": 3, "flattened": True}) == made
    teacher = old.pop("needs")["teacher"]
    old["pseudo_labels"] |= {"teacher_cell": teacher["cell"], "teacher": teacher["final"]}
    assert record.parse(old) == made
    for name in ("task", "protocol"):
        del old[name]
    assert record.parse(old | {"schema": 1}) == made
    for file in (ROOT / "results").glob("records/*/*.json"):  # steps stay whole numbers
        assert json.dumps(record.to_json(record.read(file))["curve"]) == json.dumps(
            json.loads(file.read_text())["curve"]
        )


def test_the_scores_under_resamples_stand_in_one_line_each(tmp_path):
    made = replace(made_up(RANDOM_STUDENT), resampled={"AP": [31.25, 0.0, 1e-7], "AP50": [40.5]})
    record.write(tmp_path / "record.json", made)
    lines = (tmp_path / "record.json").read_text().splitlines()
    assert '  "AP": [31.25,0.0,1e-07],' in lines and '  "AP50": [40.5]' in lines
    assert record.read(tmp_path / "record.json") == made


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"schema": 3}', '{"schema": 2, "arm": "random"}'])
def test_what_is_no_record_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match="x.json: not a record"):
        record.read(tmp_path / "x.json")
