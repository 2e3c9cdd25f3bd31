"""Heads that share an encoder, trained side by side: the images that two of them are shown are encoded once.

A head trained so is the head that `train` makes of the same configuration, to the last digit. What can be shared:

- Of pairs in files the patch tokens are in the cache, whoever asks: such heads are trained one after the other.
- Of shards, heads with the same pairs, seed and noun share read one stream: a grid of recipes, of kinds of heads.
- Sums of shards that share a set, such as the nested ones of Table 3, share its stream where the recipe says
  `sets_apart`: each set is then shown in an order of its own, whatever it is summed with.
- Heads of another seed are shown the pairs in another order, and share nothing.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from pacl_bench import processes
from pacl_bench.data.pairs import load_pairs
from pacl_bench.data.shards import ShardSet
from pacl_bench.errors import UsageError
from pacl_bench.model.head_files import CARD, HeadCard, read_card
from pacl_bench.training.batches import Sets
from pacl_bench.training.encoded_stream import SharedStreams
from pacl_bench.training.identity import changed, head_identity
from pacl_bench.training.loop import claimed_once, run_all, train
from pacl_bench.training.recipe import OFTEN, Loading, TrainConfig, Watching, checkpoint_interval
from pacl_bench.training.run import Frozen, Head, Run
from pacl_bench.training.state import RESUME_STATE

Stream = tuple  # what tells a stream of pairs from others: its encoders, sets, seed ...


def train_many(
    configs: Sequence[TrainConfig],
    outs: Sequence[Path],
    device: str = "cpu",
    checkpoint_every: str = OFTEN,
    loading: Loading | None = None,
) -> list[HeadCard]:
    """Trains heads and writes each to its folder; the cards in the order of the configurations.

    A head that is in its folder already is used as it is, and one that was stopped on the way goes on, even where the
    others have come further: what they need again is read again for it alone.

    Raises:
        UsageError, RunError: as `train`; also where a folder holds a head of another configuration.
    """
    loading = loading or Loading()
    wanted = list(zip(configs, outs, strict=True))
    with processes.joined():
        for together in sharing(configs):
            if len(together) == 1:
                _train_alone(*wanted[together[0]], device, checkpoint_every, loading)
            else:
                _train_together([wanted[number] for number in together], device, checkpoint_every, loading)
    return [read_card(out) for out in outs]


def sharing(configs: Sequence[TrainConfig]) -> list[list[int]]:
    """The numbers of the configurations that are best trained side by side, group by group.

    Each of a group reads a stream that another one of it reads too. A head that shares none, whose pairs are all in
    files, or that is not trained at all, is a group of its own.
    """
    groups: list[tuple[set[Stream], list[int]]] = []
    for number, streams in enumerate(_streams(configs)):
        apart = [group for group in groups if group[0].isdisjoint(streams)]
        met = [group for group in groups if not group[0].isdisjoint(streams)]
        read = streams.keys() | {stream for known, _ in met for stream in known}
        groups = [*apart, (read, [*(other for _, others in met for other in others), number])]
    return sorted(sorted(numbers) for _, numbers in groups)


def passes(configs: Sequence[TrainConfig]) -> tuple[int, int]:
    """How many streams the heads would read one by one, and how many side by side."""
    read = [stream for streams in _streams(configs) for stream in streams]
    return len(read), len(set(read))


def images_shown(configs: Sequence[TrainConfig], pairs: Sequence[int]) -> tuple[int, int]:
    """How many images the heads would have encoded one by one, and how many side by side: what a plan says is saved.

    Args:
        pairs: that each of the heads is shown. Of those in files none is counted.
    """
    shown: dict[Stream, list[int]] = {}
    for streams, number in zip(_streams(configs), pairs, strict=True):
        for stream, share in streams.items():
            shown.setdefault(stream, []).append(round(share * number))
    return sum(map(sum, shown.values())), sum(map(max, shown.values()))


def _streams(configs: Sequence[TrainConfig]) -> list[dict[Stream, float]]:
    """Of each head, which streams it reads. Each training set is looked at once."""
    sets = cache(load_pairs)
    return [_streams_of(config, sets(config.pairs)) for config in configs]


def _streams_of(config: TrainConfig, sets: Sets) -> dict[Stream, float]:
    """What tells the streams that a head reads from those of others, each with the share of its pairs that come from
    it; nothing where its pairs are in files.
    """
    recipe = config.recipe
    if recipe.steps == 0 or not any(isinstance(pairs, ShardSet) for pairs in sets):
        return {}
    together = [[pairs] for pairs in sets] if recipe.sets_apart else [sets]
    shares = _shares(sets) if recipe.sets_apart else [1.0]
    known = [tuple((pairs.fingerprint, pairs.contents, pairs.weight) for pairs in some) for some in together]
    streams = [(config.encoder, config.text, one, recipe.noun_share, config.seed, recipe.bfloat16) for one in known]
    return dict(zip(streams, shares, strict=True))


def _shares(sets: Sets) -> list[float]:
    """Which part of the pairs comes from each set; equal parts where the pairs of one are not counted."""
    counts = [pairs.num_pairs for pairs in sets]
    known = [count for count in counts if count]
    if len(known) < len(counts):
        return [1 / len(counts)] * len(counts)
    return [count / sum(known) for count in known]


def _train_alone(config: TrainConfig, out: Path, device: str, checkpoint_every: str, loading: Loading) -> None:
    if not (out / CARD).is_file():
        train(config, out, processes.agreed((out / RESUME_STATE).is_file()), device, checkpoint_every, loading)


def _train_together(
    wanted: list[tuple[TrainConfig, Path]], device: str, checkpoint_every: str, loading: Loading
) -> None:
    """Heads of one pair of encoders."""
    first = wanted[0][0]
    frozen = Frozen.load(first.encoder, first.text, device)
    streams = SharedStreams(frozen.vision, frozen.text, loading)
    with ExitStack() as claims:
        heads = []
        for config, out in wanted:
            claims.enter_context(claimed_once(out))
            heads.append(Head(config, out, frozen, device, loading))
        runs = [_begun(head, streams, checkpoint_every) for head in heads if not _is_trained(head)]
        run_all(runs, "The same call goes on.")
        for run in runs:
            run.finish()


def _is_trained(head: Head) -> bool:
    file = head.out / CARD
    if not processes.agreed(file.is_file()):
        return False
    differing = changed(head_identity(read_card(head.out)), head.state.identity, head.config.recipe)
    if differing:
        raise UsageError(f"{head.out} was trained with another {', '.join(differing)}. Choose another folder.")
    return True


def _begun(head: Head, streams: SharedStreams, checkpoint_every: str) -> Run:
    file = head.out / RESUME_STATE
    if processes.agreed(file.is_file()):
        head.state.load(file)
    return head.run(streams, checkpoint_interval(checkpoint_every), Watching())
