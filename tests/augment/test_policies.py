"""The policies as a whole: the published tables, sound statistics, randomness out of the seed alone."""

import hashlib
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from augment import POLICIES, Sample, build_policy, fit, policies, show
from tests.augment.makers import extent, photo, same, street

# ---- tables and statistics


def test_levels_are_the_published_ones():
    def of(name, level, **kw):
        return policies.operation(name, 1.0, level, **{"translate": 250, "cutout": 100, **kw})

    assert of("Rotate_BBox", 10).amount == 30
    assert of("ShearX_BBox", 2).amount == of("ShearY_BBox", 2).amount == pytest.approx(0.06)
    assert of("TranslateX_BBox", 4).amount == of("TranslateY_BBox", 4).amount == 100
    assert of("TranslateX_BBox", 10, translate=100).amount == 100
    assert of("TranslateY_Only_BBoxes", 6).amount == pytest.approx(72)
    assert of("Cutout", 8).pixels == 80 and of("Cutout", 10, cutout=40).pixels == 40
    assert [of("Posterize", m).args for m in (0, 4, 10)] == [(0,), (1,), (4,)]
    assert [of("Solarize", m).args for m in (0, 5, 10)] == [(0,), (128,), (256,)]
    assert [of("SolarizeAdd", m).args for m in (4, 10)] == [(44,), (110,)]
    for name in ("Color", "Contrast", "Brightness", "Sharpness"):
        assert [of(name, m).args[0] for m in (0, 5, 10)] == pytest.approx([0.1, 1.0, 1.9])
    with pytest.raises(ValueError, match="Blur"):
        of("Blur", 1)


def test_op_lists_are_the_published_ones():
    assert policies.AUTOAUGMENT_V0 == (
        (("TranslateX_BBox", 0.6, 4), ("Equalize", 0.8, 10)),
        (("TranslateY_Only_BBoxes", 0.2, 2), ("Cutout", 0.8, 8)),
        (("Sharpness", 0.0, 8), ("ShearX_BBox", 0.4, 0)),
        (("ShearY_BBox", 1.0, 2), ("TranslateY_Only_BBoxes", 0.6, 6)),
        (("Rotate_BBox", 0.6, 10), ("Color", 1.0, 6)),
    )
    assert len(policies.RANDAUGMENT) == len(set(policies.RANDAUGMENT)) == 17
    assert not any("Only" in name for name in policies.RANDAUGMENT)
    assert sum("_BBox" in name for name in policies.RANDAUGMENT) == 5


def steps(transform):
    """A pipeline in short: names of its parts."""
    return [type(part).__name__ for part in transform]


def test_policies_have_the_parts_of_the_paper():
    built = {name: build_policy(name, 64).transform for name in POLICIES}
    assert {name: steps(t) for name, t in built.items()} == {
        "S1": ["HorizontalFlip", "JitterCrop"],
        "S2": ["OneOf", "HorizontalFlip", "JitterCrop"],
        "S3": ["OneOf", "HorizontalFlip", "JitterCrop"],
        "S4": ["OneOf", "OneOf", "HorizontalFlip", "JitterCrop"],
    }
    assert {name: t[-1].scale_range for name, t in built.items()} == {
        "S1": (0.8, 1.2),
        "S2": (0.8, 1.2),
        "S3": (0.5, 2.0),
        "S4": (0.5, 2.0),
    }
    for name in ("S2", "S3"):  # sub-policy, then operation, with its probability
        assert [[op.p for op in sub] for sub in built[name][0]] == [
            [0.6, 0.8],
            [1.0, 0.8],
            [0.0, 0.4],
            [1.0, 1.0],
            [0.6, 1.0],
        ]
    assert [len(layer) for layer in built["S4"][:2]] == [17, 17]
    assert all(op.p == 1 for layer in built["S4"][:2] for op in layer)
    assert len(build_policy("S4", 64, num_ops=3).transform) == 5
    assert build_policy("S4", 64, magnitude=5).transform[0][3].amount == 15


@pytest.fixture
def choices(monkeypatch):
    """Records which part each `OneOf` draws."""
    drawn = []

    class Spy(np.random.Generator):
        def choice(self, *args, **kwargs):
            drawn.append(int(super().choice(*args, **kwargs)))
            return drawn[-1]

    make = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Spy(make(seed).bit_generator))
    return drawn


def chi_square(counts, kinds):
    """Deviation from equal counts, in standard deviations of the statistic."""
    expected = sum(counts.values()) / kinds
    value = sum((counts[i] - expected) ** 2 / expected for i in range(kinds))
    return (value - (kinds - 1)) / np.sqrt(2 * (kinds - 1))


def test_sub_policies_are_drawn_alike_often(choices):
    policy, sample = build_policy("S2", 8), Sample.unlabelled(photo(8, 8))
    for seed in range(1000):
        policy(sample, seed)
    assert len(choices) == 1000 and chi_square(Counter(choices), 5) < 4


def test_randaugment_draws_its_operations_independently(choices):
    """All 17 x 17 ordered pairs, alike often: `set_random_seed` would make both layers draw the same."""
    policy, sample = build_policy("S4", 8), Sample.unlabelled(photo(8, 8))
    for seed in range(2500):
        policy(sample, seed)
    pairs = Counter(17 * a + b for a, b in zip(choices[::2], choices[1::2], strict=True))
    assert sum(pairs.values()) == 2500 and abs(chi_square(pairs, 289)) < 5


def test_flip_is_fair_jitter_is_uniform_and_they_are_independent():
    """A long flat picture: its row of colours tells the flip, its height tells the scale."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[:, 200:] = 255
    policy = build_policy("S1", 100, scale_range=(0.5, 1.0))
    flips, scales = [], []
    for seed in range(800):
        out = policy(Sample(image, [[0, 0, 400, 400]], [0], [False]), seed)
        flips.append(out.image[0, 0, 0] == 255)
        scales.append(out.boxes[0, 2] / 100)
    assert abs(np.mean(flips) - 0.5) < 0.07  # four standard deviations
    assert min(scales) >= 0.5 and max(scales) <= 1.0
    quartiles = np.quantile(scales, [0.25, 0.5, 0.75])
    assert np.abs(quartiles - [0.625, 0.75, 0.875]).max() < 0.04
    assert abs(np.corrcoef(flips, scales)[0, 1]) < 0.15


@pytest.mark.parametrize(("name", "low", "high"), [("S1", 0.8, 1.2), ("S4", 0.5, 2.0)])
def test_jitter_reaches_the_ends_of_its_range_and_crops_anywhere(name, low, high):
    jitter = build_policy(name, 200).transform[-1]
    corners, zooms = [], []
    for seed in range(400):
        jitter.set_random_state(np.random.default_rng(seed), random.Random(seed))
        params = jitter.get_params_dependent_on_data({"shape": (200, 200)}, {})
        zooms.append(params["target"][0] / params["source"][2])
        if params["source"][2] < 150:
            corners.append(params["source"][:2] / np.subtract(200, params["source"][2:]))
    assert low - 0.01 < min(zooms) < low + 0.05 and high - 0.05 < max(zooms) < high + 0.02
    if corners:
        assert (
            np.abs(np.mean(corners, 0) - 0.5).max() < 0.08
            and abs(np.corrcoef(np.transpose(corners))[0, 1]) < 0.25
        )


# ---- randomness is a function of the seed


class Draws:
    """A data set as a loader sees it: item i is `street()` under seed i, as bytes."""

    def __init__(self, name):
        self.policy = build_policy(name, 48)

    def __len__(self):
        return 12

    def __getitem__(self, i):
        out = self.policy(street(), i)
        return out.image.tobytes() + out.boxes.tobytes() + out.mask.tobytes()


def digest(draws):
    return hashlib.sha256(b"".join(draws[i] for i in range(12))).hexdigest()


def test_order_and_history_do_not_matter():
    for name in POLICIES:
        forward, backward = Draws(name), Draws(name)
        first = [forward[i] for i in range(12)]
        assert first == [backward[i] for i in reversed(range(12))][::-1] == [forward[i] for i in range(12)]
        assert len(set(first)) > 8  # jitter is rounded to whole pixels: at this size two may coincide


@pytest.mark.parametrize("name", ["S1", "S4"])
def test_loader_workers_draw_what_one_process_draws(name):
    """Left alone, albumentations 2.0.8 gives every worker the same stream and repeats it each epoch."""
    loader = DataLoader(Draws(name), batch_size=None, num_workers=2)
    expected = [Draws(name)[i] for i in range(12)]
    assert list(loader) == expected and list(loader) == expected


def test_another_process_draws_the_same():
    code = "from tests.augment.test_policies import Draws, digest; print(digest(Draws('S4')))"
    there = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert there.stdout.strip() == digest(Draws("S4"))


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_said_of_the_whole_picture_stays_as_it_is(name):
    target = np.array([0.25, 0.75], np.float32)
    sample = replace(street(), target=target)
    for seed in range(20):
        augmented = build_policy(name, 64)(sample, seed)
        assert augmented.target is target and augmented.image.shape == (64, 64, 3)
    assert fit(sample, 64)[0].target is target and sample.clipped().target is target


def test_input_is_never_written_to():
    sample = street()
    for array in (sample.image, sample.boxes, sample.classes, sample.ignore, sample.mask):
        array.flags.writeable = False
    # 128 pixels is the picture's own size.
    for policy in (build_policy(name, size) for name in POLICIES for size in (96, 128)):
        for seed in range(20):
            out = policy(sample, seed)
            assert not any(
                np.shares_memory(a, b) for a, b in [(out.image, sample.image), (out.mask, sample.mask)]
            )
    assert same(sample, street())
    assert not np.shares_memory(fit(sample, 128)[0].image, sample.image)


# ---- refusals and the contact sheet


def test_mistakes_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="did you mean S4"):
        build_policy("s4", 64)
    with pytest.raises(ValueError, match="S1 or S2 or S3 or S4"):
        build_policy("mosaic", 64)
    for bad in (
        {"magnitude": -1},
        {"magnitude": 31},
        {"num_ops": -1},
        {"scale_range": (0, 1)},
        {"scale_range": (2, 1)},
        {"size": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(bad))):
            build_policy("S4", **{"size": 64, **bad})
    with pytest.raises(ValueError, match="uint8"):
        Sample.unlabelled(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match="2 classes"):
        Sample(photo(), [[0, 0, 1, 1]], [1, 2], [False])
    with pytest.raises(ValueError, match="mask"):
        Sample(photo(), [], [], [], np.zeros((3, 3), np.uint8))


def test_strong_magnitudes_run():
    policy = build_policy("S4", 64, magnitude=30, num_ops=4)
    assert len({policy(street(), seed).image.tobytes() for seed in range(30)}) == 30


def test_contact_sheet_shows_every_policy(tmp_path, capsys):
    page = show.sheet([street(), street(seed=1)], size=40, seed=0, draws=2)
    assert page.shape == (5 * 46 + 6, 90 + 4 * 46 + 6, 3)
    for row in range(5):
        assert page[6 + 46 * row : 46 + 46 * row, 90:130].std() > 10
    assert (page[6:46, 90 + 46 : 90 + 86] == 255).all()  # one original for two draws
    assert np.array_equal(page[52:92, 90:130], show.draw(build_policy("S1", 40)(street(), 0)))


def test_contact_sheet_from_the_command_line(tmp_path, capsys):
    Image.fromarray(photo()).save(tmp_path / "a.png")
    (tmp_path / "boxes.json").write_text(
        '{"images": [{"id": 4, "file_name": "a.png"}], "categories": [{"id": 9, "name": "b"}],'
        ' "annotations": [{"image_id": 4, "bbox": [10, 10, 30, 20], "category_id": 9}]}'
    )
    args = [str(tmp_path / "a.png"), "--size", "64", "--draws", "1", "--out"]
    show.main([*args, str(tmp_path / "plain.png")])
    show.main([*args, str(tmp_path / "boxed.png"), "--boxes", str(tmp_path / "boxes.json")])
    plain, boxed = (np.asarray(Image.open(tmp_path / f"{n}.png")).astype(int) for n in ("plain", "boxed"))
    changed = extent((plain != boxed).any(-1)[6:70, 90:154])  # the original's place
    assert np.abs(changed - np.array([10, 10, 40, 30]) * 0.8).max() <= 3
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for missing in ("nowhere.jpg", "broken.jpg"):
        with pytest.raises(SystemExit) as stop:
            show.main([str(tmp_path / missing), "--out", str(tmp_path / "no.png")])
        assert stop.value.code == 2 and missing in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()


def test_contact_sheet_with_masks(tmp_path, capsys):
    """A mask has VOC's name or a pseudo-mask's; one of colours, of another size, or missing is refused."""
    Image.fromarray(photo()).save(tmp_path / "a.png")
    mask = np.zeros(photo().shape[:2], np.uint8)
    mask[10:30, 10:40] = 3
    args = [str(tmp_path / "a.png"), *"--size 64 --draws 1".split(), "--out", str(tmp_path / "sheet.png")]
    show.main(args)
    args += ["--masks", str(tmp_path / "masks")]
    plain = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    (tmp_path / "masks").mkdir()
    for name in ("a.png", "a.png.png"):
        Image.fromarray(mask).save(tmp_path / "masks" / name)
        show.main(args)
        masked = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
        height = round(0.8 * len(mask))  # below it padding, where nothing is known: grey
        changed = extent((plain != masked).any(-1)[6 : 6 + height, 90:154])
        assert np.abs(changed - np.array([10, 10, 40, 30]) * 0.8).max() <= 3
        (tmp_path / "masks" / name).unlink()
    for content, words in (
        (None, "no mask a.png"),
        (Image.fromarray(photo()), "a.png: colours"),
        (Image.fromarray(mask[:-1]), "a.png: "),
    ):
        if content:
            content.save(tmp_path / "masks" / "a.png")
        with pytest.raises(SystemExit):
            show.main(args)
        assert words in capsys.readouterr().err
