"""Corpora: the data sets known by name, the user's own text, and their layout for training."""

from awd.corpus.datasets import DATASETS, DataSet, corpus_identity, load_corpus

__all__ = ["DATASETS", "DataSet", "corpus_identity", "load_corpus"]
