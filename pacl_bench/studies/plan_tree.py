"""A plan as a tree for the console: stages, their steps, and what each will take."""

from typing import TypeGuard

from rich.filesize import decimal
from rich.markup import escape
from rich.tree import Tree

from pacl_bench.caching.disk import cache_limit
from pacl_bench.studies.plan import Plan, Stage
from pacl_bench.studies.steps import MeasureStep, Step, TrainStep
from pacl_bench.studies.survey import Work


def plan_tree(plan: Plan, works: dict[str, list[Work]]) -> Tree:
    """The steps of a plan, with images to encode, pairs, passes, hours and gigabytes; what is done says so."""
    every = [work for of_stage in works.values() for work in of_stage]
    tree = Tree(f"[bold]{escape(plan.name)}[/bold]: {_total(every)}")
    for stage in plan.stages:
        branch = tree.add(f"[bold]{stage.title}[/bold]{_summary(stage)}")
        for step, work in zip(stage.steps, works[stage.title], strict=True):
            twig = branch.add(f"{escape(step.title)}: {_told(step, work)}")
            for cell in step.cells if _is_shared(step) else ():
                twig.add(escape(cell.wanted.title) + (": [green]done[/green]" if cell.is_trained else ""))
    return tree


def hours(seconds: float | None) -> str:
    """ "1:05 h", "40 s"; of None that it is not known."""
    if seconds is None:
        return "time unknown"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,}:{minutes % 60:02} h"


def _summary(stage: Stage) -> str:
    waiting = sum(not step.is_done() for step in stage.steps)
    steps = "1 step" if len(stage.steps) == 1 else f"{len(stage.steps)} steps"
    shared = [len(step.cells) for step in stage.steps if _is_shared(step)]
    heads = f", {sum(shared)} heads in {len(shared)} passes" if shared else ""
    return f", {steps}" + ("" if waiting == len(stage.steps) else f", {waiting} to do") + heads


def _is_shared(step: Step) -> TypeGuard[TrainStep]:
    """Whether several heads are trained side by side."""
    return isinstance(step, TrainStep) and len(step.cells) > 1


def _told(step: Step, work: Work) -> str:
    if step.is_done() or (isinstance(step, MeasureStep) and not work.measurements):
        return "[green]done[/green]"
    parts = [
        f"{work.measurements:,} measurements" if work.measurements else "",
        f"{len(work.records):,} recorded" if work.records else "",
        f"{work.pairs:,} pairs" if work.pairs else "",
        f"{work.passes:.3g} passes" if work.passes else "",
        f"{work.images:,} images to encode" if work.images else "",
        f"not {work.images + work.images_saved:,}" if work.images_saved else "",
        f"{work.encoder_passes} passes of the encoder" if work.encoder_passes > work.measurements > 0 else "",
        hours(work.seconds) if work.seconds != 0 else "",
        f"{decimal(work.token_bytes)} of patch tokens" if work.token_bytes else "",
    ]
    return ", ".join(part for part in parts if part) or "to do"


def _total(works: list[Work]) -> str:
    known = sum(work.seconds or 0.0 for work in works)
    more = " and more" if any(work.seconds is None for work in works) else ""
    tokens, limit = sum(work.token_bytes for work in works), cache_limit()
    over = (
        f" (limit {decimal(limit)}: what does not fit is encoded again, see PACL_CACHE_LIMIT)" if tokens > limit else ""
    )
    images, pairs = sum(work.images for work in works), sum(work.pairs for work in works)
    return (
        f"{images:,} images to encode, {pairs:,} pairs, about {hours(known)}{more}, {decimal(tokens)} of patch "
        f"tokens{over}"
    )
