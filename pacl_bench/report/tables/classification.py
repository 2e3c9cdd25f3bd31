"""The numbers of Figure 8: zero-shot classification."""

from collections.abc import Sequence

from pacl_bench.report.lines import models_by_dataset
from pacl_bench.report.runs import Run, numbers
from pacl_bench.report.tabular import Table

METRICS = {"top1": "top-1 accuracy", "mean_per_class_recall": "mean per-class recall"}


def classification(runs: Sequence[Run]) -> list[Table]:
    """Accuracy of each model on each data set, a metric at a time."""
    measured = [one for metric in METRICS for one in numbers(runs, "classify", metric)]
    return models_by_dataset(measured, lambda one: METRICS[one.metric])
