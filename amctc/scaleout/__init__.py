"""Calibration by several processes or machines, on Dask: the only place that knows it."""
