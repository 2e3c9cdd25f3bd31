"""The built-in world: the same on every machine, true to its labels, and spoken of in words that are known."""

import hashlib
import re
from itertools import islice

import numpy as np
import pytest

from pacl_bench.image_sets import IGNORE_LABEL
from pacl_bench.world import (
    COLOURS,
    HELD_OUT,
    IMAGE_SIZE,
    STUFF,
    TEMPLATES,
    THINGS,
    WORLD_CLASSIFICATION,
    WORLD_PAIRS,
    WORLD_SEGMENTATION,
    CaptionSpec,
    WorldSpec,
    render_scene,
    vocabulary,
)

SETS = {**WORLD_PAIRS, **WORLD_SEGMENTATION, **WORLD_CLASSIFICATION}


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text))


def fingerprint() -> str:
    """Of the first two items of every set: image, what is asked of it, captions."""
    digest = hashlib.sha256()
    for name, world_set in SETS.items():
        for index in range(2):
            image, answer = world_set[index]
            digest.update(name.encode() + image.tobytes())
            digest.update(answer.tobytes() if isinstance(answer, np.ndarray) else str(answer).encode())
    return digest.hexdigest()


def test_every_machine_draws_the_same_world():
    # A change of this number is a new world: the shipped encoders must then be pre-trained anew.
    assert fingerprint() == "561224c4e458aec7d33a61dbd62041dd0715e8f2fee7c963835da65a033a6737"


def test_a_scene_depends_on_its_seed_only():
    first, again, other = render_scene(5), render_scene(5), render_scene(6)
    assert np.array_equal(first.image, again.image)
    assert first.captions == again.captions
    assert not np.array_equal(first.image, other.image)


def test_regions_cover_the_image_and_their_areas_are_right():
    for seed in range(30):
        scene = render_scene(seed)
        assert scene.image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
        areas = np.bincount(scene.region_map.ravel(), minlength=len(scene.regions))
        assert areas.tolist() == [region.area for region in scene.regions]
        assert areas.sum() == IMAGE_SIZE**2


def test_label_maps_know_plain_and_coloured_names():
    scene = render_scene(0, WorldSpec(things=(1, 1)))
    thing = scene.things[0]
    where = scene.region_map == scene.regions.index(thing)
    for classnames in [(thing.noun,), (thing.name,)]:
        label_map = scene.label_map(classnames)
        assert (label_map[where] == 0).all()
        assert (label_map[~where] == IGNORE_LABEL).all()
    other = next(colour for colour in COLOURS if colour != thing.colour)
    assert (scene.label_map((f"{other} {thing.noun}",)) == IGNORE_LABEL).all()


def test_a_labelled_pixel_has_its_colour():
    """The label map lies where the thing was painted: a plain thing's pixels are its colour, up to light and tint."""
    seen = 0
    for seed in range(300):
        scene = render_scene(seed, WorldSpec(things=(1, 1), noise=0))
        thing = scene.things[0]
        if thing.noun == "balloon" and thing.colour:
            pixels = scene.image[scene.label_map(("balloon",)) == 0].astype(int)
            assert np.abs(pixels - np.array(COLOURS[thing.colour])).max() < 80
            seen += 1
    assert seen > 5


def test_captions_are_true():
    """Unless told otherwise, a caption names only what is in the scene."""
    for seed in range(300):
        scene = render_scene(seed)
        present = {region.noun for region in scene.regions}
        for caption in scene.captions:
            assert words(caption) & {*THINGS, *STUFF} <= present
            assert words(caption) & set(COLOURS) <= {region.colour for region in scene.regions}


def test_captions_tell_a_part_and_vary():
    captions = [render_scene(seed, WorldSpec(things=(3, 3))).captions[0] for seed in range(400)]
    named = [len(words(caption) & set(THINGS)) for caption in captions]
    assert {1, 2, 3} <= set(named)
    assert len(set(captions)) > 390
    assert 0.5 < np.mean([bool(words(caption) & set(STUFF)) for caption in captions]) < 0.9


def test_mismatched_captions_are_about_another_picture():
    spec = WorldSpec(captions=CaptionSpec(mismatch=100))
    wrong = [
        bool(words(scene.captions[0]) & set(THINGS) - {region.noun for region in scene.regions})
        for scene in (render_scene(seed, spec) for seed in range(200))
    ]
    assert np.mean(wrong) > 0.5


@pytest.mark.parametrize("name", SETS)
def test_every_set_reads_and_says_why(name):
    world_set = SETS[name]
    assert world_set.why
    image, _ = world_set[0]
    assert image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert image.dtype == np.uint8
    world_set[len(world_set) - 1]
    with pytest.raises(IndexError):
        world_set[len(world_set)]


def test_no_two_sets_share_a_scene():
    streams = [world_set.stream for world_set in SETS.values()]
    assert len(set(streams)) == len(streams)


@pytest.mark.parametrize("name", WORLD_SEGMENTATION)
def test_segmentation_labels_are_classes_of_the_set(name):
    world_set = WORLD_SEGMENTATION[name]
    labels = np.unique([world_set[index][1] for index in range(40)])
    assert set(labels.tolist()) <= {*range(len(world_set.classnames)), IGNORE_LABEL}
    assert (IGNORE_LABEL in labels) == (name in {"world-things", "world-fine"})


@pytest.mark.parametrize("name", WORLD_CLASSIFICATION)
def test_classification_asks_about_every_class_alike(name):
    world_set = WORLD_CLASSIFICATION[name]
    labels = [world_set[index][1] for index in range(len(world_set))]
    counts = np.bincount(labels, minlength=len(world_set.classnames))
    assert len(counts) == len(world_set.classnames)
    assert counts.min() > 0.4 * len(labels) / len(counts)


def test_held_out_combinations_are_asked_about_and_never_trained_on():
    unseen = WORLD_CLASSIFICATION["world-unseen"]
    assert {(unseen.scene(i).things[0].colour, unseen.scene(i).things[0].noun) for i in range(100)} == HELD_OUT
    for pairs in WORLD_PAIRS.values():
        regions = [region for index in range(200) for region in pairs.scene(index).regions]
        assert not {(region.colour, region.noun) for region in regions} & HELD_OUT


def test_every_word_is_in_the_vocabulary():
    known = set(vocabulary())
    for pairs in WORLD_PAIRS.values():
        for index in range(300):
            assert words(pairs[index][1]) <= known
    for world_set in (*WORLD_SEGMENTATION.values(), *WORLD_CLASSIFICATION.values()):
        assert words(" ".join([*world_set.classnames, *TEMPLATES])) <= known


def test_every_word_of_the_vocabulary_is_spoken():
    """A word no caption holds would be an untrained vector behind a class name."""
    spec = WorldSpec(captions=CaptionSpec(count=4))
    heard: set[str] = set()
    for seed in range(1000):
        heard |= words(" ".join(render_scene(seed, spec).captions))
    assert set(vocabulary()) <= heard


def test_rotated_label_maps_turn_with_the_image():
    spec = WorldSpec(things=(1, 1), style="rotated", noise=0)
    for seed in islice(range(400), 400):
        scene = render_scene(seed, spec)
        thing = scene.things[0]
        if thing.noun == "balloon":
            inside = scene.image[scene.label_map(("balloon",)) == 0].astype(int)
            assert inside.std(axis=0).max() < 3
