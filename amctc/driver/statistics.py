"""The file with the statistics of BatchNorm layers that a compilation has refreshed."""

from __future__ import annotations

from pathlib import Path

from amctc.pipeline.context import Context


def statistics_file(context: Context) -> dict[Path, bytes]:
    """What is to lie in the policy's `bn_dump_dir`, by path; empty where it names none, or nothing was refreshed."""
    settings = context.need_policy().bn_update
    if settings is None or settings.dump_dir is None or not context.statistics:
        return {}
    from amctc.targets.caffe.batch_norm_file import BATCH_NORM_FILE, batch_norm_file  # a file of Caffe's

    return {Path(settings.dump_dir) / BATCH_NORM_FILE: batch_norm_file(context.statistics)}
