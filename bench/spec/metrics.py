"""Registry of metrics: their names in records, their labels, and the functions that compute them. Plain data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One number of a quality measurement.

    Attributes:
        name: its key in a record's `metrics`.
        label: its name in tables.
        lower_is_better: True or False; None for a number that does not rank samplers.
        compute: "module:function" that takes a `bench.quality.metrics.Comparison` and returns a float, or None if it
            needs more images.
    """

    name: str
    label: str
    lower_is_better: bool | None
    compute: str


METRICS: dict[str, Metric] = {}  # in the order of the records' metrics
# The one metric of a second extractor, by its name. Records have it where the user gave the extractor's weights.
SECOND_METRICS = {"dinov2": Metric("fd_dinov2", "FD (DINOv2)", True, "bench.quality.metrics:frechet_distance")}


def register(metric: Metric) -> None:
    """Add a metric, which every later measurement has. ValueError if its name is taken."""
    if metric.name in METRICS:
        raise ValueError(f"metric {metric.name!r} is registered twice")
    METRICS[metric.name] = metric


register(Metric("fid", "FD", True, "bench.quality.metrics:frechet_distance"))
register(Metric("fid_quarter", "FD at n/4", None, "bench.quality.metrics:frechet_distance_of_quarters"))
register(Metric("fid_half", "FD at n/2", None, "bench.quality.metrics:frechet_distance_of_halves"))
register(Metric("fid_limit", "FD, limit in 1/n", True, "bench.quality.metrics:frechet_distance_limit"))
register(Metric("kid", "KID", True, "bench.quality.metrics:kernel_distance"))
register(Metric("kid_subset_std", "KID subset std", None, "bench.quality.metrics:kernel_distance_std"))
register(Metric("precision", "precision", False, "bench.quality.metrics:precision"))
register(Metric("recall", "recall", False, "bench.quality.metrics:recall"))
