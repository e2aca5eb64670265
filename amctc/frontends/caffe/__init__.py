"""Caffe files to graphs."""

from amctc.frontends.caffe.load import load_caffe

__all__ = ["load_caffe"]
