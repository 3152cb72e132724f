"""Datasets and encodings: what is in a file, and what of it enters a network in each step. See docs/data.md."""

from talon_lib.data.dataset import Dataset, Samples, load
from talon_lib.data.encode import ENCODINGS, Encoding, encode, parse
from talon_lib.data.events import Recordings

__all__ = ["ENCODINGS", "Dataset", "Encoding", "Recordings", "Samples", "encode", "load", "parse"]
