"""The sets of image-caption pairs that have a name, and loading them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pacl_bench.data.declaration import Declaration
from pacl_bench.data.outside_sets import outside_names, outside_set
from pacl_bench.data.pair_names import name_and_weight, split_sum
from pacl_bench.data.pair_readers import Pairs, count_skipped, read_coco, read_csv, read_flickr8k, read_flickr30k
from pacl_bench.data.shards import ShardSet, names_shards, read_shard_folder, read_shard_pattern
from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name
from pacl_bench.world import WORLD_PAIRS
from pacl_bench.world.built_in import WorldPhotos


@dataclass(frozen=True, kw_only=True)
class PairSource(Declaration):
    """A training set with a name."""

    read: Callable[[Path], Pairs | ShardSet]

    def load(self) -> Pairs | ShardSet:
        """The set as it lies under the data root."""
        return self.read(self.root())


def _shards(name: str, title: str, num_images: int, space: str, source: str, licence: str) -> "PairSource":
    steps = (
        f"img2dataset --url_list LIST --output_format webdataset --output_folder {name} --image_size 256 "
        "--resize_mode keep_ratio writes 00000.tar, 00000_stats.json ..."
    )
    return PairSource(
        name=name, title=title, read=lambda root: read_shard_folder(name, root), folders=(name,),
        num_images=num_images, space=space, source=source, licence=licence, steps=steps,
    )  # fmt: skip


COCO_CAPTIONS = {
    "folders": ("coco",),
    "source": "cocodataset.org",
    "licence": "Flickr terms; captions CC BY 4.0",
    "read_here": True,
}

PAIR_SOURCES: dict[str, PairSource] = {
    entry.name: entry
    for entry in (
        PairSource(
            name="flickr8k", title="Flickr8k, 8,091 photos, 5 captions each", read=read_flickr8k, folders=("flickr8k",),
            num_images=8_091, space="1.1 GB", source="its authors' request form or a mirror of Flickr8k_Dataset.zip",
            licence="Flickr terms, research", read_here=True,
        ),
        PairSource(
            name="flickr30k", title="Flickr30k, 31,783 photos, 5 captions each", read=read_flickr30k,
            folders=("flickr30k",), num_images=31_783, space="4.4 GB",
            source="its authors' request form (shannon.cs.illinois.edu/DenotationGraph)",
            licence="Flickr terms, research",
        ),
        PairSource(
            name="coco-train2017", title="COCO captions, 118,287 photos",
            read=lambda root: read_coco(root, "train2017"), num_images=118_287, space="19 GB", **COCO_CAPTIONS,
        ),
        PairSource(
            name="coco-val2017", title="COCO captions, 5,000 photos", read=lambda root: read_coco(root, "val2017"),
            num_images=5_000, space="1 GB", **COCO_CAPTIONS,
        ),
        _shards(
            "cc3m", "Conceptual Captions (GCC3M), shards of img2dataset", 3_318_333, "150 GB at 256 px",
            "the urls of ai.google.com/research/ConceptualCaptions, fetched with img2dataset",
            "free use; images their owners'",
        ),
        _shards(
            "cc12m", "Conceptual 12M (GCC12M), shards of img2dataset", 12_423_374, "550 GB at 256 px",
            "the urls of github.com/google-research-datasets/conceptual-12m, fetched with img2dataset",
            "free use; images their owners'",
        ),
        _shards(
            "yfcc15m", "YFCC100M's 15M with English captions (CLIP's subset), shards of img2dataset", 14_829_396,
            "700 GB at 256 px",
            "the list of github.com/openai/CLIP/blob/main/data/yfcc100m.md, fetched with img2dataset",
            "Creative Commons, photo by photo",
        ),
    )
}  # fmt: skip


def load_pairs(names: str) -> list[Pairs | ShardSet]:
    """Sets of pairs by name, csv file or shards, several joined by "+", each with a weight or none.

    `cc3m:0.2+cc12m:0.8`: what follows the last colon is a weight if it is a number. A "+" or a colon that belongs to
    the name of a file there is, stays in it.
    """
    if not names:
        raise UsageError("--pairs names no set.")
    parsed = [name_and_weight(name) for name in split_sum(names)]
    for name, _ in parsed:
        if not name:
            raise UsageError(f"--pairs {names}: a set is wanted on both sides of a +.")
        if sum(name == other for other, _ in parsed) > 1:
            raise UsageError(f"--pairs {names}: {name} stands there twice. To show it more often, give it a weight.")
    weights = [weight for _, weight in parsed]
    if None in weights and any(weights):
        raise UsageError(f"--pairs {names}: give every set a weight, or none.")
    total = sum(weight for weight in weights if weight is not None)
    return [
        replace(_load_one(name), weight=None if weight is None or len(parsed) == 1 else weight / total)
        for name, weight in parsed
    ]


def name_of(sets: list[Pairs | ShardSet]) -> str:
    """What several sets are called together, each with its weight where there are weights: "cc3m:0.2+cc12m:0.8"."""
    return "+".join(pairs.name + ("" if pairs.weight is None else f":{pairs.weight:g}") for pairs in sets)


def short_name(name: str) -> str:
    """What a set is called in names of heads: its name, a csv file's stem, the folder of shards; then =weight."""
    name, weight = name_and_weight(name)
    if name not in PAIR_SOURCES and names_shards(name):
        name = read_shard_pattern(name).name
    return Path(name).stem + (f"={weight:g}" if weight is not None else "")


def _load_one(name: str) -> Pairs | ShardSet:
    outside = outside_set("pairs", name, [*PAIR_SOURCES, *WORLD_PAIRS])
    if outside is not None:
        return outside.load()
    if name in WORLD_PAIRS:
        photos = WorldPhotos(name)
        return Pairs(name, photos, photos.captions, [])
    try:
        pairs = _read(name)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:  # not as the format has it
        told = " ".join(str(error).split())
        raise UsageError(f"{name} is not readable as pairs, in UTF-8 ({type(error).__name__}: {told}).") from None
    if isinstance(pairs, Pairs) and not len(pairs):
        raise UsageError(f"{name}: no usable pair ({count_skipped(pairs.skipped)}).")
    return pairs


def _read(name: str) -> Pairs | ShardSet:
    if name in PAIR_SOURCES:
        return PAIR_SOURCES[name].load()
    if Path(name).suffix.lower() in (".csv", ".tsv"):
        return read_csv(Path(name))
    if names_shards(name):
        return read_shard_pattern(name)
    own = [*PAIR_SOURCES, *WORLD_PAIRS]
    unknown = unknown_name(name, [*own, *outside_names("pairs", own)], "set of pairs")
    raise UsageError(f"{unknown} Or give a csv file, or shards: /data/my/{{00000..00099}}.tar.")
