"""A small published corpus, the server that has it, and where the real ones lie."""

import hashlib
import socket

import pytest

from awd.corpus.datasets import DATASETS, DataSet
from tests.awd.corpus.local_server import running_server
from tests.data_folder import real_data_folder


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch):
    """No folder of the developer's own is found, and no test reaches further than 127.0.0.1."""
    for name in ("AWD_DATA_DIR", "AWD_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    look_up = socket.getaddrinfo

    def look_up_here(host, *args, **kwargs):
        assert host == "127.0.0.1", f"a test wants to reach {host}"
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)


@pytest.fixture
def server():
    with running_server() as running:
        yield running


@pytest.fixture
def dead_url():
    """Nothing listens here."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}/ptb.{{split}}.txt"


@pytest.fixture
def contents():
    return {"train": b" the cat sat \n the <unk> \n" * 50, "valid": b" the cat \n", "test": b" cat sat \n\n"}


@pytest.fixture
def sha256(contents):
    return {split: hashlib.sha256(content).hexdigest() for split, content in contents.items()}


@pytest.fixture
def dataset(sha256):
    """A published corpus without a mirror."""
    return DataSet(
        name="ptb",
        title="A small corpus",
        licence="of the test's own",
        home="",
        sha256=sha256,
        folders=("penn", "ptb"),
        patterns=("{split}.txt", "ptb.{split}.txt"),
    )


@pytest.fixture
def write(tmp_path):
    """Write the files of a folder, given as a name and bytes; the folder's path comes back."""

    def write_files(folder, files):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (tmp_path / folder / name).write_bytes(content)
        return tmp_path / folder

    return write_files


@pytest.fixture
def real_data():
    folder = real_data_folder()
    for name in ("ptb", "wikitext-2"):
        if not any((folder / sub_folder).is_dir() for sub_folder in DATASETS[name].folders):
            pytest.skip(f"{name} is not in {folder}: name the folder that holds the corpora with AWD_DATA_DIR")
    return folder
