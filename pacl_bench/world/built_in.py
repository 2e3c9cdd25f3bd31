"""The built-in world's sets in the form evaluators and trainer know. Nothing is read from disk: scenes are drawn."""

import hashlib
from functools import cache, cached_property

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pacl_bench.progress import track
from pacl_bench.world import WORLD_CLASSIFICATION, WORLD_PAIRS, WORLD_SEGMENTATION, Scene, WorldScenes


class WorldImages:
    """An image set whose every image is a scene."""

    def __init__(self, name: str, scenes: WorldScenes):
        self.name, self.scenes = name, scenes
        self.official_images = len(scenes)

    def __len__(self) -> int:
        return len(self.scenes)

    def image(self, index: int) -> Image.Image:
        """RGB."""
        return Image.fromarray(self.scenes.scene(index).image)

    @cached_property
    def fingerprint(self) -> str:
        """Over the declaration and the first scenes: it changes when the way scenes are drawn does."""
        digest = hashlib.sha256(repr(self.scenes).encode())
        for index in range(3):
            digest.update(self.scenes.scene(index).image.tobytes())
        return digest.hexdigest()


class WorldLabelMaps(WorldImages):
    """Scenes with the class of each pixel."""

    def __init__(self, name: str):
        self.world_set = WORLD_SEGMENTATION[name]
        super().__init__(name, self.world_set)
        self.classnames = list(self.world_set.classnames)

    def label_map(self, index: int) -> UInt8[np.ndarray, "height width_px"]:
        """Class indices in the order of `classnames`; IGNORE_LABEL where none of them is."""
        return self.world_set[index][1]


class WorldLabels(WorldImages):
    """Scenes with one class each."""

    def __init__(self, name: str):
        world_set = WORLD_CLASSIFICATION[name]
        super().__init__(name, world_set)
        self.classnames = list(world_set.classnames)
        self.labels = list(_labels(name))
        self.templates: list[str] = []


@cache
def _labels(name: str) -> tuple[int, ...]:
    """The classes of all scenes, which are drawn to know them: once, however often a study asks for the set."""
    world_set = WORLD_CLASSIFICATION[name]
    return tuple(world_set[index][1] for index in range(len(world_set)))


class WorldPhotos(WorldImages):
    """The scenes of a training set. All are drawn at once and kept: their captions say what came into sight."""

    def __init__(self, name: str):
        super().__init__(name, WORLD_PAIRS[name])
        self.pixels, self.captions = _drawn(name)

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])


@cache
def _drawn(name: str) -> tuple[UInt8[np.ndarray, "image height width_px channel"], list[list[str]]]:
    scenes: list[Scene] = []
    world_set = WORLD_PAIRS[name]
    for index in track(range(len(world_set)), f"drawing {name}"):
        scenes.append(world_set.scene(index))
    return np.stack([scene.image for scene in scenes]), [list(scene.captions) for scene in scenes]
