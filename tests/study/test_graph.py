"""The graph of a study follows from the declarations of its cells; so do the dependencies of Slurm's jobs."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from selftrain.cells import Cell, Feed, Final, Human, Pseudo, Random, in_order
from selftrain.study.graph import Graph, Node, make_nodes
from selftrain.study.options import Command
from selftrain.study.plans import Planned
from selftrain.study.progress import Progress
from selftrain.study.slurm import arrays_of
from tests.study.tiny import BENCHMARKS, TINY, commands_of, graph_of, main

FEW = [
    *("coco", "study", "--policies", "S1", "--fractions", ".5", "1", "--seeds", "0", "--shapes.train", "20"),
    *("--shapes.val", "4", "--shapes.test", "4", "--shapes.unlabeled", "8"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture
def folder(data, monkeypatch) -> Path:
    """The same for all of these tests: they train nothing, and draw each data set once."""
    monkeypatch.chdir(data)
    return data


def kinds(nodes: list[Node]) -> list[str]:
    return [node.kind for node in nodes]


def check_declared(graph: Graph) -> None:
    """What a node waits for is what its cells need, and no more."""
    keys = [cell.key for cell in graph.cells]
    assert len(set(keys)) == len(keys) and len({node.id for node in graph.nodes}) == len(graph.nodes)
    assert set(keys) == {cell.key for cell in in_order(graph.cells)}
    for place, node in enumerate(graph.nodes):
        assert all(needed in graph.nodes[:place] for needed in node.needs)
        if node.kind == "labels":
            assert [node.cell.key] == [cell.key for needed in node.needs for cell in needed.cells]
            continue
        own = {cell.key for cell in node.cells}
        needed = {each.key for cell in node.cells for _, each in cell.needs()} - own
        assert needed == {each.cell.key for each in node.needs}
        teachers = {cell.teacher.key for cell in node.cells if cell.teacher} - own
        assert teachers == {each.cell.key for each in node.needs if each.kind == "labels"}


# ---- of a study -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--rounds", "2"],
        ["--supervised-only", "--rounds", "2"],
        ["--unlabeled", "rest", "--rounds", "2"],
        ["--vary", "alpha=0.5,1", "--vary", "channels=32,64"],
        ["--student-start", "teacher"],
    ],
)
def test_every_node_is_a_declared_cell_and_a_command_that_its_benchmark_accepts(folder, more):
    """Also with further rounds, whose option a supervised node must bear, and without a pool."""
    graph = graph_of([*FEW, *more])
    check_declared(graph)
    wanted = [command.recipe for command in commands_of([*FEW, *more])]
    for node in graph.nodes:
        recipe = BENCHMARKS["coco"].parse(["study", *node.options])
        supervised = "supervised" if recipe.self_training else "students"
        assert recipe.until == {"labels": "labels", "student": "students"}.get(node.kind, supervised)
        assert replace(recipe, precision="no", until="students") in wanted
    students = {len(node.cells) for node in graph.nodes if node.kind == "student"}
    assert students == (set() if "--supervised-only" in more else {2 if "--rounds" in more else 1})


def test_the_dry_run_says_who_waits_for_whom_and_runs_nothing(folder, capsys):
    assert main([*TINY, "--starts", "random", "imagenet", "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    lines = [re.split(r"\s{2,}", line.strip()) for line in shown if "seed 0" in line]
    assert [line[1] for line in lines] == ["to do", "waiting", "waiting"] * 2
    assert lines[2][0].startswith("random + self-training, S1, 100 %")
    assert lines[2][2].startswith("random: label the pool")
    assert not (folder / "runs" / "cells").exists() and not (folder / "records").exists()


def test_a_varied_field_makes_cells_of_its_own_and_is_shown(folder):
    graph = graph_of([*TINY, "--vary", "channels=32,64"])
    assert kinds(graph.nodes) == ["supervised", "labels", "student"] * 2
    assert [cell.recipe.channels for cell in graph.cells] == [32, 32, 64, 64]
    assert all(f"channels {node.recipe.channels}, seed 0" in node.title for node in graph.nodes)
    assert [node.setting["channels"] for node in graph.nodes] == [32] * 3 + [64] * 3


def test_a_field_of_students_alone_shares_its_teacher(folder):
    """Another weight of the pseudo-labels goes with the same labels, another threshold with others."""
    graph = graph_of([*TINY, "--vary", "alpha=0.5,1"])
    assert kinds(graph.nodes) == ["supervised", "labels", "student", "student"]
    supervised, labels, *students = graph.nodes
    assert labels.needs == (supervised,) and all(node.needs == (labels,) for node in students)
    assert ["alpha" in node.title for node in graph.nodes] == [False, False, True, True]
    graph = graph_of([*TINY, "--vary", "pseudo_threshold=0.3,0.5"])
    assert kinds(graph.nodes) == ["supervised", "labels", "student", "labels", "student"]
    assert graph.nodes[1].needs == graph.nodes[3].needs == (graph.nodes[0],)
    assert graph.nodes[1].id.endswith("-pseudo_threshold-0.3")
    assert graph.nodes[3].id.endswith("-pseudo_threshold-0.5")
    check_declared(graph)


def test_a_value_that_changes_nothing_makes_no_second_cell(folder):
    """RandAugment's magnitude belongs to S4."""
    assert len(graph_of([*TINY, "--vary", "magnitude=5,10"]).cells) == 2
    assert len(graph_of([*TINY, "--policies", "S4", "--vary", "magnitude=5,10"]).cells) == 4


# ---- of cells that need more than a teacher -------------------------------------------------------------


class Unfinished(Graph):
    """A graph of declarations alone: nothing of it is done."""

    def done(self, node: Node) -> bool:
        return False


def declared(folder: Path, seeds: tuple[int, ...] = (0,)) -> Graph:
    """Of each seed: two supervised cells, and a student of the first that starts from the weights of the
    second.
    """
    human, splits = Feed("human", "d", Human(), "boxes", 4), SimpleNamespace(pool=SimpleNamespace(hash="p"))
    task = SimpleNamespace(labeller=SimpleNamespace(raw_fields=("nms",), label_fields=("pseudo_threshold",)))
    plans = []
    for seed in seeds:
        recipe = BENCHMARKS["coco"].parse(["study", "--seed", str(seed), "--out", str(folder)])
        teacher = Cell(recipe, Random(), (human,), "v")
        other = Cell(replace(recipe, lr=0.5), Random(), (human,), "v")
        pseudo = Feed("pseudo", "p", Pseudo(teacher), "boxes", 4)
        student = Cell(recipe, Final(other), (human, pseudo), "v")
        plans.append(Planned(Command(other.recipe, ("--lr", "0.5")), (other,), splits, task))
        plans.append(Planned(Command(recipe, ("--seed", str(seed))), (teacher, student), splits, task))
    return Unfinished(make_nodes(plans), folder / "records", "coco.py", "study")


def test_two_needs_are_two_dependencies(tmp_path):
    graph = declared(tmp_path)
    check_declared(graph)
    other, teacher, labels, student = graph.nodes
    assert kinds(graph.nodes) == ["supervised", "supervised", "labels", "student"]
    assert student.needs == (labels, other) and labels.needs == (teacher,)
    assert teacher.options == ("--seed", "0", "--until", "supervised") and other.options == ("--lr", "0.5")
    progress = Progress(graph, tmp_path)
    assert [progress.state(node) for node in graph.nodes] == ["to do", "to do", "waiting", "waiting"]
    progress.exit_codes = {other.id: 1}  # one of the two is enough to stop it
    assert progress.state(student) == "stopped by a failure" and progress.state(labels) == "waiting"


def test_a_cell_whose_need_nobody_trains_is_refused(tmp_path):
    graph = declared(tmp_path)
    student = graph.nodes[-1]
    lonely = replace(student.planned, cells=student.cells)
    with pytest.raises(ValueError, match="which nothing trains"):
        make_nodes([lonely])


def test_jobs_wait_for_all_that_their_nodes_need(tmp_path):
    graph = declared(tmp_path)
    arrays = arrays_of(graph, graph.nodes, {})
    assert [array.nodes for array in arrays] == [[node] for node in graph.nodes]
    jobs = [["1"], ["2"], ["3"]]
    assert [array.dependency(jobs) for array in arrays] == [None, None, "afterok:2", "afterok:3:1"]
    other, teacher, labels, student = graph.nodes
    known = {other.id: "7", labels.id: "8_0"}  # submitted by an earlier call
    (first, second) = arrays_of(graph, [teacher, student], known)
    assert first.nodes == [teacher] and first.dependency([]) is None
    assert second.nodes == [student] and second.dependency([["9"]]) == "afterok:8_0:7"


def test_tasks_of_arrays_wait_each_for_its_own(tmp_path):
    """Seeds of one shape make arrays of two; a seed of which less is left goes alone."""
    graph = declared(tmp_path, seeds=(0, 1, 2))
    kinds_of_seed = [(node.kind, node.recipe.seed) for node in graph.nodes]
    left = [node for node, (_, seed) in zip(graph.nodes, kinds_of_seed, strict=True) if seed != 2]
    alone = graph.nodes[-1]
    arrays = arrays_of(graph, [*left, alone], {needed.id: f"5{n}" for n, needed in enumerate(alone.needs)})
    assert [len(array.nodes) for array in arrays] == [2, 2, 2, 2, 1]
    for array in arrays[:4]:
        assert [node.recipe.seed for node in array.nodes] == [0, 1]
    jobs = [[f"{n}_0", f"{n}_1"] for n in (1, 2, 3, 4)]
    found = [array.dependency(jobs) for array in arrays]
    assert found == [None, None, "aftercorr:2", "aftercorr:3:1", "afterok:50:51"]
