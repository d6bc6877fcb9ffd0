import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from awd.corpus.download import Mirror, cache_folder, download_splits, read_cached
from awd.errors import CorpusError
from tests.awd.corpus.local_server import Reply

MEMBER = "wikitext-2/wiki.{split}.tokens"


@pytest.fixture
def fetch(tmp_path, sha256):
    """Download from these mirrors into ``cache``."""

    def fetch_from(*mirrors, on_message=lambda _: None):
        return download_splits("ptb", mirrors, sha256, tmp_path / "cache", on_message)

    return fetch_from


def left_behind(tmp_path):
    return [path.name for path in tmp_path.glob("cache/*")]


def test_raw_files_are_fetched_and_kept(server, fetch, contents, sha256, tmp_path):
    assert fetch(Mirror(server.serve_raw(contents))) == contents
    assert read_cached(tmp_path / "cache", sha256) == contents
    assert sorted(left_behind(tmp_path)) == ["test.txt", "train.txt", "valid.txt"]


def test_an_archive_is_fetched_once_and_unpacked(server, fetch, contents):
    assert fetch(Mirror(server.serve_zip(contents), MEMBER)) == contents
    assert server.requests == ["/wikitext-2-v1.zip"]


def test_a_server_that_refuses_pythons_own_client_names_serves_us(server, fetch, contents):
    assert fetch(Mirror(server.serve_zip(contents, refuses_python=True), MEMBER)) == contents


def spoil(server, contents, how):
    """A mirror that fails in one way, and what the message says of it."""
    raw, whole = server.serve_raw(contents), server.serve_zip(contents)
    zipped = server.replies["/wikitext-2-v1.zip"]
    if how == "wrong checksum":
        server.replies["/ptb.valid.txt"].body += b"more \n"
        return Mirror(raw), "wrong checksum of the valid split"
    if how == "truncated file":
        server.replies["/ptb.train.txt"] = Reply(body=contents["train"][:40], announced_bytes=len(contents["train"]))
        return Mirror(raw), "broke off"
    if how == "short file":  # what a server sends that was itself cut short
        server.replies["/ptb.train.txt"] = Reply(body=contents["train"][:40])
        return Mirror(raw), "wrong checksum of the train split"
    if how == "truncated archive":
        zipped.body = zipped.body[:-30]
        return Mirror(whole, MEMBER), "not a whole zip"
    if how == "log-in page":
        zipped.body = b"<html>log in first</html>"
        return Mirror(whole, MEMBER), "not a whole zip"
    if how == "other archive":
        return Mirror(whole, "wikitext-103/wiki.{split}.tokens"), "the archive has no wikitext-103"
    server.replies["/ptb.test.txt"] = Reply(int(how))
    return Mirror(raw), f"HTTP {how}"


WAYS_TO_FAIL = [
    "wrong checksum",
    "truncated file",
    "short file",
    "truncated archive",
    "log-in page",
    "other archive",
    "403",
    "404",
    "503",
]


@pytest.mark.parametrize("how", WAYS_TO_FAIL)
def test_a_mirror_that_fails_leaves_nothing_behind_and_says_why(server, fetch, contents, tmp_path, how):
    mirror, reason = spoil(server, contents, how)
    with pytest.raises(CorpusError, match=reason):
        fetch(mirror)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("how", WAYS_TO_FAIL)
def test_after_a_mirror_that_fails_the_next_is_asked(server, fetch, contents, how):
    mirror, reason = spoil(server, contents, how)
    told = []
    assert fetch(mirror, Mirror(server.serve_raw(contents, prefix="copy/")), on_message=told.append) == contents
    assert len(told) == 1
    assert reason in told[0]


def test_after_a_mirror_that_is_gone_the_next_is_asked(server, fetch, contents, dead_url):
    assert fetch(Mirror(dead_url), Mirror(server.serve_raw(contents))) == contents


def test_offline_the_message_gives_each_mirrors_reason_and_the_way_out(server, fetch, dead_url):
    with pytest.raises(CorpusError) as error:
        fetch(Mirror(dead_url), Mirror(f"{server.url}/gone.zip", MEMBER))
    message = str(error.value)
    assert "offline" in message
    assert f"  {dead_url}: no connection\n" in message
    assert f"  {server.url}/gone.zip: HTTP 404 Not Found\n" in message
    assert "--data-dir" in message


def test_a_damaged_or_incomplete_cache_is_no_cache(server, fetch, contents, sha256, tmp_path):
    fetch(Mirror(server.serve_raw(contents)))
    (tmp_path / "cache" / "test.txt").write_bytes(contents["test"][:-1])
    assert read_cached(tmp_path / "cache", sha256) is None
    (tmp_path / "cache" / "test.txt").unlink()
    assert read_cached(tmp_path / "cache", sha256) is None
    assert fetch(Mirror(server.serve_raw(contents))) == contents
    assert read_cached(tmp_path / "cache", sha256) == contents


def test_several_downloads_at_once_do_not_disturb_each_other(server, fetch, contents, sha256, tmp_path):
    mirror = Mirror(server.serve_raw(contents))
    threads = [threading.Thread(target=fetch, args=(mirror,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_cached(tmp_path / "cache", sha256) == contents
    assert len(left_behind(tmp_path)) == 3


def test_a_download_killed_half_way_leaves_nothing_that_passes_for_the_corpus(server, contents, sha256, tmp_path):
    # valid.txt never comes: the process is killed while it waits, with train.txt received
    url = server.serve_raw(contents)
    asked, release = threading.Event(), threading.Event()

    class Stuck(Reply):
        def __getattribute__(self, name):
            if name == "body":
                asked.set()
                release.wait(10)
            return super().__getattribute__(name)

    server.replies["/ptb.valid.txt"] = Stuck()
    program = (
        "from pathlib import Path; from awd.corpus.download import Mirror, download_splits; "
        f"download_splits('ptb', [Mirror({url!r})], {sha256!r}, Path({str(tmp_path / 'cache')!r}), print)"
    )
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": root})
    assert asked.wait(10)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    release.set()
    assert read_cached(tmp_path / "cache", sha256) is None
    assert left_behind(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_named(server, contents, sha256, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(CorpusError, match=r"cache.*cannot be kept here.*AWD_CACHE_DIR"):
        download_splits("ptb", [Mirror(server.serve_raw(contents))], sha256, tmp_path / "cache", print)


def test_a_file_gets_its_name_only_when_it_is_whole(server, fetch, contents, tmp_path, monkeypatch):
    def disk_fails(temporary, target):
        assert temporary.read_bytes() == contents["train"]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", disk_fails)
    with pytest.raises(CorpusError, match="No space left"):
        fetch(Mirror(server.serve_raw(contents)))
    assert list((tmp_path / "cache").iterdir()) == []


def test_no_progress_bar_is_drawn_into_a_file(server, fetch, contents, capsys):
    fetch(Mirror(server.serve_raw(contents)))
    assert capsys.readouterr() == ("", "")


def test_a_progress_bar_is_drawn_on_a_terminal(server, fetch, contents, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert fetch(Mirror(server.serve_raw(contents))) == contents
    assert "100%" in capsys.readouterr().err


def test_the_cache_is_the_argument_else_the_environments_else_the_systems(monkeypatch, tmp_path):
    assert cache_folder().name == "awd-ablations"
    monkeypatch.setenv("AWD_CACHE_DIR", str(tmp_path / "environment"))
    assert cache_folder() == tmp_path / "environment"
    assert cache_folder(tmp_path / "argument") == tmp_path / "argument"
