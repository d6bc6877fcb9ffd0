"""Checkpoints on disk: whatever becomes of a file, a process or a disk, a run ends with the same numbers or says so."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from awd import checkpoint as checkpoint_module
from awd.checkpoint import CheckpointError, Checkpoints, Interval, PausedError, pack, read_checkpoint
from awd.config import override
from awd.engine import FastEngine, TorchEngine
from awd.files import PLACEHOLDER, DamagedFileError, write_sealed
from awd.trainer import TEST, TRAIN, EpochRecord, Trainer
from tests.awd.resuming import (
    BOTH_PHASES,
    CORPUS,
    EVERY_STEP,
    NEVER,
    PROCESSES,
    SEED,
    SHORT,
    Outcome,
    after,
    checkpoints_in,
    in_a_process,
    outcome,
    pause,
    to_the_end,
    trainer_of,
    uninterrupted,
    with_moments,
)
from tests.awd.tiny import tiny_config

ROOT = Path(__file__).resolve().parents[2]
LONG = tiny_config(training={"epochs": 20}, optimizer={"method": "nt-asgd", "nonmonotone_interval": 0})
# nothing is random but the initial weights, which have a stream each
SMALLEST = tiny_config(
    model={"embedding_size": 1, "hidden_size": 1, "num_layers": 1},
    regularization=dict.fromkeys(
        ("embedding_dropout", "input_dropout", "hidden_dropout", "output_dropout", "weight_dropout"), 0.0
    ),
    windows={"variable": False},
)


def reseal(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Another checkpoint in the place of one, whole and sealed."""
    state = read_checkpoint(path)
    change(state)
    write_sealed(path, pack(state))


def flip(path: Path, place: int, bit: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(content)


def spoil(path: Path) -> None:
    flip(path, path.stat().st_size // 2)


def where(path: Path) -> tuple[str, int, int]:
    state = read_checkpoint(path)
    return state["phase"], state["epoch"], state["start"]


def numbers(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix("checkpoint-")) for path in checkpoints_in(folder)]


class TestHowOften:
    def saved(self, folder: Path, interval: Interval, seconds: float = 0.0) -> list[tuple[float, tuple[str, int, int]]]:
        """When each checkpoint was there, and where it is; every step takes so many seconds."""
        found: dict[str, tuple[float, tuple[str, int, int]]] = {}

        def look() -> None:
            for path in checkpoints_in(folder) if folder.exists() else []:
                found.setdefault(path.name, (time.monotonic(), where(path)))
            time.sleep(seconds)

        trainer = trainer_of(BOTH_PHASES)
        Checkpoints(folder, interval, stop=look, warn=pytest.fail).follow(trainer)
        assert outcome(trainer.run()) == uninterrupted(BOTH_PHASES)
        look()
        return list(found.values())

    @pytest.mark.parametrize("epochs", [1, 2, 4])
    def test_after_so_many_epochs(self, tmp_path: Path, epochs: int) -> None:
        ended = [("train", 1), ("train", 2), ("train", 3), ("train", 4), ("finetune", 1), ("test", 0)]
        places = [place for _, place in self.saved(tmp_path / "run", Interval(epochs=epochs))]
        assert places == [(phase, epoch, 0) for phase, epoch in ended[epochs - 1 :: epochs]]

    def test_epochs_are_counted_from_the_last_checkpoint(self, tmp_path: Path) -> None:
        pause(tmp_path / "run", 10, BOTH_PHASES, Interval(epochs=2))
        phase, epoch, start = where(checkpoints_in(tmp_path / "run")[-1])
        assert (phase, epoch) == ("train", 2)
        assert start > 0
        places = [place for _, place in self.saved(tmp_path / "run", Interval(epochs=2))]
        assert places[2:] == [("train", 4, 0), ("test", 0, 0)]

    def test_after_so_many_seconds_in_the_middle_of_an_epoch(self, tmp_path: Path) -> None:
        saved = self.saved(tmp_path / "run", Interval(seconds=0.05), seconds=0.02)
        assert len(saved) >= 5
        assert any(start for _, (_, _, start) in saved)
        # each was there some time, up to one step, after it had been begun
        assert saved[-1][0] - saved[0][0] >= 0.05 * (len(saved) - 1) - 0.03

    def test_left_open_a_run_of_seconds_is_not_saved(self, tmp_path: Path) -> None:
        assert self.saved(tmp_path / "run", Interval()) == []

    def test_left_open_it_has_a_least_time_between(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checkpoint_module, "LEAST_SECONDS", 0.1)
        monkeypatch.setattr(checkpoint_module, "SHARE", 1.0)
        saved = self.saved(tmp_path / "run", Interval(), seconds=0.02)
        assert len(saved) >= 3
        assert saved[-1][0] - saved[0][0] >= 0.1 * (len(saved) - 1) - 0.03

    @pytest.mark.parametrize("works", [True, False])
    def test_left_open_it_takes_a_share_of_the_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
    ) -> None:
        begun = []

        def slow(path: Path, content: bytes) -> None:
            begun.append(time.monotonic())
            time.sleep(0.02)
            if not works:
                raise OSError("no")
            write_sealed(path, content)

        monkeypatch.setattr(checkpoint_module, "LEAST_SECONDS", 0.0)
        monkeypatch.setattr(checkpoint_module, "SHARE", 0.1)
        monkeypatch.setattr(checkpoint_module, "write_sealed", slow)
        trainer = trainer_of(BOTH_PHASES)
        Checkpoints(tmp_path, stop=lambda: time.sleep(0.02), warn=lambda message: None).follow(trainer)
        trainer.run()
        assert len(begun) >= 2
        assert begun[-1] - begun[0] >= 0.2 * (len(begun) - 1)

    def test_the_two_newest_are_kept(self, tmp_path: Path) -> None:
        kept = []
        trainer = trainer_of()
        Checkpoints(tmp_path, EVERY_STEP, stop=lambda: kept.append(numbers(tmp_path))).follow(trainer)
        trainer.run()
        assert kept == [[], [1], *([number - 1, number] for number in range(2, len(kept)))]
        older, newer = checkpoints_in(tmp_path)
        assert (where(older)[0], where(newer)[0]) == (TRAIN, TEST)

    def test_removing_them_takes_their_folder_too(self, tmp_path: Path) -> None:
        pause(tmp_path / "run", 3)
        Checkpoints(tmp_path / "run").remove()
        assert list(tmp_path.iterdir()) == []
        Checkpoints(tmp_path / "run").remove()


class TestStopping:
    def test_saves_the_run_and_tells_the_reason(self, tmp_path: Path) -> None:
        reasons = iter([None, None, "the sky is falling"])
        trainer = trainer_of()
        Checkpoints(tmp_path, NEVER, stop=lambda: next(reasons)).follow(trainer)
        with pytest.raises(PausedError, match=r"^the sky is falling$"):
            trainer.run()
        assert numbers(tmp_path) == [1]
        assert where(checkpoints_in(tmp_path)[0]) == ("train", 0, trainer.position.start)
        assert to_the_end(tmp_path)[0] == uninterrupted()

    def test_does_not_save_what_has_just_been_saved(self, tmp_path: Path) -> None:
        pause(tmp_path, 3, interval=EVERY_STEP)
        assert numbers(tmp_path) == [3, 4]

    def test_does_not_save_again_a_run_that_has_not_moved(self, tmp_path: Path) -> None:
        before_the_test = len(with_moments(SHORT)[1]) - 1
        pause(tmp_path, before_the_test)
        pause(tmp_path, 0)
        assert numbers(tmp_path) == [1]
        assert where(checkpoints_in(tmp_path)[0])[0] == TEST
        assert to_the_end(tmp_path)[0] == uninterrupted()

    def test_stops_though_nothing_can_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("a file where the folder should be")
        told: list[str] = []
        trainer = trainer_of()
        Checkpoints(tmp_path / "run", NEVER, stop=after(2), warn=told.append).follow(trainer)
        with pytest.raises(PausedError):
            trainer.run()
        assert len(told) == 1
        assert "no checkpoint could be written" in told[0]


class TestBookkeeping:
    def test_sittings_and_their_seconds_add_up(self, tmp_path: Path) -> None:
        spent = 0.0
        for sitting in range(3):
            began = time.monotonic()
            trainer = trainer_of(LONG)
            asked = after(5)
            checkpoints = Checkpoints(tmp_path, NEVER, stop=lambda asked=asked: time.sleep(0.01) or asked())
            assert checkpoints.follow(trainer) == (sitting > 0)
            assert checkpoints.resumes == sitting
            assert 6 * 0.01 * sitting <= checkpoints.seconds <= spent
            with pytest.raises(PausedError):
                trainer.run()
            spent += time.monotonic() - began
            time.sleep(0.1)  # nobody's
        actual, checkpoints = to_the_end(tmp_path, LONG)
        assert actual == uninterrupted(LONG)
        assert checkpoints.resumes == 3
        assert 0.18 <= checkpoints.seconds <= spent

    def test_an_epoch_takes_the_seconds_of_all_its_sittings(self, tmp_path: Path) -> None:
        began = time.perf_counter()
        trainer = trainer_of()
        asked = after(2)
        Checkpoints(tmp_path, NEVER, stop=lambda: time.sleep(0.05) or asked()).follow(trainer)
        with pytest.raises(PausedError):
            trainer.run()
        spent = time.perf_counter() - began
        time.sleep(0.2)  # nobody's
        began, ended = time.perf_counter(), []
        trainer = trainer_of(on_epoch=lambda record: ended.append((record, time.perf_counter() - began)))
        Checkpoints(tmp_path, NEVER).follow(trainer)
        trainer.run()
        first, spent_since = ended[0]
        # the last of the three sleeps is after the step that was saved
        assert 0.1 <= first.seconds <= spent + spent_since

    def test_epochs_before_the_cut_are_known_and_not_told_again(self, tmp_path: Path) -> None:
        records: list[EpochRecord] = []
        trainer = trainer_of(BOTH_PHASES, on_epoch=records.append)
        Checkpoints(tmp_path, NEVER, stop=after(10)).follow(trainer)
        with pytest.raises(PausedError):
            trainer.run()
        told = len(records)
        assert told == 2
        trainer = trainer_of(BOTH_PHASES, on_epoch=records.append)
        Checkpoints(tmp_path, NEVER).follow(trainer)
        assert trainer.epochs == records
        assert trainer.run().epochs == records
        assert len(records) == 6

    def test_a_folder_that_was_moved_is_gone_on_with(self, tmp_path: Path) -> None:
        pause(tmp_path / "here" / "run", 7)
        shutil.move(tmp_path / "here", tmp_path / "there ü")
        actual, checkpoints = to_the_end(tmp_path / "there ü" / "run")
        assert actual == uninterrupted()
        assert checkpoints.resumes == 1

    def test_without_a_checkpoint_a_run_starts_at_its_start(self, tmp_path: Path) -> None:
        actual, checkpoints = to_the_end(tmp_path / "none")
        assert actual == uninterrupted()
        assert (checkpoints.resumes, checkpoints.seconds) == (0, 0.0)
        assert not (tmp_path / "none").exists()


def train_until_killed(folder: Path, interval: Interval, connection: Connection) -> None:
    trainer = trainer_of(LONG)
    checkpoints = Checkpoints(folder, interval, warn=pytest.fail)
    checkpoints.follow(trainer)
    connection.send("begun")
    connection.send((outcome(trainer.run()), checkpoints.resumes))


class TestKill9:
    def sitting(self, folder: Path, interval: Interval, moment: Callable[[], Any]) -> tuple[Outcome, int] | None:
        """A process that is killed at a moment, or is done before."""
        mine, its = PROCESSES.Pipe()
        process = PROCESSES.Process(target=train_until_killed, args=(folder, interval, its))
        process.start()
        its.close()
        assert mine.recv() == "begun"
        moment()
        process.kill()
        process.join()
        if process.exitcode == 0:
            return mine.recv()
        assert process.exitcode == -signal.SIGKILL
        return None

    def wait_for(self, folder: Path, count: int) -> None:
        end = time.monotonic() + 60
        while not folder.exists() or len(list(folder.glob("checkpoint-*"))) < count:
            assert time.monotonic() < end
            time.sleep(0.001)

    @pytest.mark.parametrize("interval", [Interval(epochs=1), EVERY_STEP], ids=["epochs", "steps"])
    def test_at_any_moment_changes_no_number(self, tmp_path: Path, interval: Interval) -> None:
        folder, draw = tmp_path / "run", random.Random(3)
        assert self.sitting(folder, interval, lambda: self.wait_for(folder, 2)) is None
        for _ in range(6):
            done = self.sitting(folder, interval, lambda: time.sleep(draw.uniform(0, 0.15)))
            if done:
                break
        # the rest, undisturbed, unless it was done already
        actual, resumes = done or in_a_process_to_the_end(folder, interval)
        assert actual == uninterrupted(LONG)
        assert resumes > 0
        assert len(checkpoints_in(folder)) == 2, "nothing is left of those who were killed as they wrote"


def in_a_process_to_the_end(folder: Path, interval: Interval) -> tuple[Outcome, int]:
    mine, its = PROCESSES.Pipe()
    in_a_process(train_until_killed, folder, interval, its)
    assert mine.recv() == "begun"
    return mine.recv()


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    pause(tmp_path, 3)
    for name in (".checkpoint-000000002.safetensors.0123456789ab.tmp", ".other.tmp", "notes.txt"):
        (tmp_path / name).write_text("half")
    trainer = trainer_of()
    Checkpoints(tmp_path).follow(trainer)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".other.tmp",
        "checkpoint-000000001.safetensors",
        "notes.txt",
    ]
    assert outcome(trainer.run()) == uninterrupted()


@pytest.fixture
def smallest(tmp_path: Path) -> Path:
    """The file of the smallest run there is."""
    pause(tmp_path, 0, SMALLEST)
    (path,) = checkpoints_in(tmp_path)
    assert read_checkpoint(path)["phase"] == TRAIN
    return path


class TestDamage:
    def test_every_cut_is_noticed(self, smallest: Path) -> None:
        with smallest.open("r+b", buffering=0) as file:
            for length in reversed(range(smallest.stat().st_size)):
                file.truncate(length)
                with pytest.raises(DamagedFileError):
                    read_checkpoint(smallest)

    def test_every_changed_byte_is_noticed(self, smallest: Path) -> None:
        draw, content = random.Random(4), smallest.read_bytes()
        with smallest.open("r+b", buffering=0) as file:
            for place, value in enumerate(content):
                file.seek(place)
                file.write(bytes([value ^ draw.randrange(1, 256)]))
                with pytest.raises(DamagedFileError):
                    read_checkpoint(smallest)
                file.seek(place)
                file.write(bytes([value]))
        assert read_checkpoint(smallest)["phase"] == TRAIN

    def test_a_flipped_bit_is_noticed_in_a_checkpoint_of_megabytes(self, tmp_path: Path) -> None:
        pause(tmp_path, 0, tiny_config(model={"hidden_size": 300, "embedding_size": 300}))
        (path,) = checkpoints_in(tmp_path)
        draw, size = random.Random(5), path.stat().st_size
        assert size > 2**22
        for place in [*range(8), size - 1, *(draw.randrange(size) for _ in range(60))]:
            bit = 1 << draw.randrange(8)
            flip(path, place, bit)
            with pytest.raises(DamagedFileError, match=path.name):
                read_checkpoint(path)
            flip(path, place, bit)
        read_checkpoint(path)

    @pytest.mark.parametrize("more", [b"\0", b"\n", PLACEHOLDER.encode(), bytes(4096)])
    def test_bytes_after_the_end_are_noticed(self, smallest: Path, more: bytes) -> None:
        smallest.write_bytes(smallest.read_bytes() + more)
        with pytest.raises(DamagedFileError, match=smallest.name):
            read_checkpoint(smallest)

    def test_a_missing_file_is_no_damage(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read_checkpoint(tmp_path / "none")


class Trap:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def sealed_safetensors(metadata: dict[str, str]) -> bytes:
    return safetensors.torch.save({"weight": torch.ones(3)}, {**metadata, "seal": PLACEHOLDER})


def pickled(mark: Path) -> bytes:
    content = pickle.dumps(Trap(mark))
    pickle.loads(content)
    assert mark.exists(), "a trap that does not work would show nothing"
    mark.unlink()
    return content


NO_CHECKPOINTS: dict[str, Callable[[Path], bytes]] = {
    "nothing": lambda mark: PLACEHOLDER.encode(),
    "text": lambda mark: json.dumps({"a": 1, "seal": PLACEHOLDER}).encode(),
    "a pickle": lambda mark: pickled(mark) + PLACEHOLDER.encode(),
    "weights": lambda mark: sealed_safetensors({"format": "pt"}),
    "a run that is no JSON": lambda mark: sealed_safetensors({"run": "{"}),
    "a run that is empty": lambda mark: sealed_safetensors({"run": "{}"}),
    "a run that is a list": lambda mark: sealed_safetensors({"run": "[]"}),
    "a run that is null": lambda mark: sealed_safetensors({"run": "null"}),
    "a header that is a list": lambda mark: (
        (len(PLACEHOLDER) + 4).to_bytes(8, "little") + json.dumps([PLACEHOLDER]).encode()
    ),
    "a header longer than the file": lambda mark: (10**6).to_bytes(8, "little") + b"{" + PLACEHOLDER.encode(),
}


@pytest.mark.parametrize("kind", NO_CHECKPOINTS)
def test_a_sealed_file_that_is_no_checkpoint_is_damage_and_is_not_executed(tmp_path: Path, kind: str) -> None:
    pause(tmp_path / "run", 5)
    mark = tmp_path / "mark"
    write_sealed(tmp_path / "run" / "checkpoint-000000002.safetensors", NO_CHECKPOINTS[kind](mark))
    with pytest.raises(DamagedFileError, match=r"checkpoint-000000002\.safetensors: not a checkpoint"):
        read_checkpoint(tmp_path / "run" / "checkpoint-000000002.safetensors")
    told: list[str] = []
    actual, checkpoints = to_the_end(tmp_path / "run", warn=told.append)
    assert actual == uninterrupted()
    assert checkpoints.resumes == 1
    assert len(told) == 1
    assert not mark.exists()


def test_a_pickle_in_the_place_of_a_checkpoint_is_not_executed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint-000000001.safetensors").write_bytes(pickled(mark))
    torch.save(Trap(mark), tmp_path / "run" / "checkpoint-000000002.safetensors")
    told: list[str] = []
    assert to_the_end(tmp_path / "run", warn=told.append)[0] == uninterrupted()
    assert len(told) == 2
    assert not mark.exists()


SPOILERS: dict[str, Callable[[Path], object]] = {
    "a flipped bit": spoil,
    "cut short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: os.truncate(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "more than was written": lambda path: path.write_bytes(path.read_bytes() * 2),
}


class TestGoingOnFromDamage:
    @pytest.mark.parametrize("kind", SPOILERS)
    def test_the_one_before_a_damaged_one_is_used(self, tmp_path: Path, kind: str) -> None:
        pause(tmp_path, 9, BOTH_PHASES, EVERY_STEP)
        older, newer = checkpoints_in(tmp_path)
        SPOILERS[kind](newer)
        told: list[str] = []
        trainer = trainer_of(BOTH_PHASES)
        assert Checkpoints(tmp_path, warn=told.append).follow(trainer)
        assert (trainer.position.phase, trainer.position.epoch, trainer.position.start) == where(older)
        assert len(told) == 1
        assert str(newer) in told[0]
        assert told[0].endswith("the one before it is used")
        assert outcome(trainer.run()) == uninterrupted(BOTH_PHASES)

    @pytest.mark.parametrize("kind", SPOILERS)
    def test_with_both_damaged_the_run_starts_anew(self, tmp_path: Path, kind: str) -> None:
        pause(tmp_path, 9, BOTH_PHASES, EVERY_STEP)
        older, newer = checkpoints_in(tmp_path)
        SPOILERS[kind](older)
        SPOILERS[kind](newer)
        told: list[str] = []
        actual, checkpoints = to_the_end(tmp_path, BOTH_PHASES, warn=told.append)
        assert actual == uninterrupted(BOTH_PHASES)
        assert (checkpoints.resumes, checkpoints.seconds) == (0, 0.0)
        assert [str(path) in message for path, message in zip((newer, older), told, strict=True)] == [True, True]
        assert told[1].endswith("the run starts anew")

    @pytest.mark.parametrize("count", [1, 2])
    def test_what_is_saved_afterwards_is_kept_and_gone_on_with(self, tmp_path: Path, count: int) -> None:
        pause(tmp_path, 9, BOTH_PHASES, EVERY_STEP)
        for path in checkpoints_in(tmp_path)[-count:]:
            spoil(path)
        trainer = trainer_of(BOTH_PHASES)
        Checkpoints(tmp_path, NEVER, stop=after(2), warn=lambda message: None).follow(trainer)
        with pytest.raises(PausedError):
            trainer.run()
        for path in checkpoints_in(tmp_path):
            read_checkpoint(path)
        actual, checkpoints = to_the_end(tmp_path, BOTH_PHASES)
        assert actual == uninterrupted(BOTH_PHASES)
        assert checkpoints.resumes == (2 if count == 1 else 1)

    def test_three_are_there_after_a_kill_and_the_two_newer_may_be_damaged(self, tmp_path: Path) -> None:
        pause(tmp_path, 9, BOTH_PHASES, EVERY_STEP)
        for path in reversed(checkpoints_in(tmp_path)):
            newer = path.with_name(f"checkpoint-{numbers(tmp_path)[-1] + 1:09}.safetensors")
            newer.write_bytes(path.read_bytes()[:-1])
        assert len(numbers(tmp_path)) == 4
        told: list[str] = []
        trainer = trainer_of(BOTH_PHASES)
        Checkpoints(tmp_path, NEVER, stop=after(0), warn=told.append).follow(trainer)
        with pytest.raises(PausedError):
            trainer.run()
        assert len(told) == 2
        assert numbers(tmp_path) == [10, 11]
        assert to_the_end(tmp_path, BOTH_PHASES)[0] == uninterrupted(BOTH_PHASES)

    def test_without_a_listener_it_is_a_python_warning(self, tmp_path: Path) -> None:
        pause(tmp_path, 3)
        spoil(checkpoints_in(tmp_path)[0])
        with pytest.warns(UserWarning, match="damaged.*the run starts anew"):
            Checkpoints(tmp_path).follow(trainer_of())


def changed(*keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        *sections, key = keys
        for section in ("identity", *sections):
            values = values[section]
        values[key] = to

    return change


def test_the_layout_is_that_of_format_1(tmp_path: Path) -> None:
    """Change it and ``_FORMAT`` goes up: files of before would be misread."""
    config = override(BOTH_PHASES, {"optimizer": {"method": "adam", "learning_rate": 0.02}}, "the test")
    pause(tmp_path, len(with_moments(config)[1]) // 2, config)
    content = checkpoints_in(tmp_path)[0].read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    values = json.loads(header.pop("__metadata__")["run"])
    assert values["identity"]["format"] == 1
    assert set(values) - {"average"} == {
        *(
            "identity",
            "resumes",
            "elapsed",
            "phase",
            "epoch",
            "start",
            "lengths",
            "seconds",
            "epochs",
            "best_valid_ppl",
        ),
        *("learning_rate", "steps", "averaged_steps", "averaging", "criterion"),
    }
    parts = {name.split("/", 1)[0] for name in header}
    assert parts == {"model", "best", "optimizer", "streams", "mask streams", "hidden", "cell", "losses"}
    assert {"model/embedding.weight", "best/embedding.weight", "optimizer/0/exp_avg", "hidden/1", "losses"} <= set(
        header
    )
    assert {"streams/window lengths", "mask streams/weight mask 0"} <= set(header)


def one_token_differs() -> Trainer:
    return Trainer(SHORT, replace(CORPUS, test=[*CORPUS.test[:-1], 1 - min(CORPUS.test[-1], 1)]), SEED)


def a_word_differs() -> Trainer:
    return Trainer(SHORT, replace(CORPUS, words=["another", *CORPUS.words[1:]]), SEED)


OTHER_RUNS: dict[str, tuple[Callable[[], Trainer], str]] = {
    "seed": (lambda: Trainer(SHORT, CORPUS, 7), "seed 0, not 7"),
    "rate": (
        lambda: trainer_of(override(SHORT, {"optimizer": {"learning_rate": 20.0}}, "the test")),
        "config.optimizer.learning_rate 10.0, not 20.0",
    ),
    "epochs": (
        lambda: trainer_of(override(SHORT, {"training": {"epochs": 3}}, "the test")),
        "config.training.epochs 2, not 3",
    ),
    "a token": (one_token_differs, "corpus"),
    "a word": (a_word_differs, "corpus"),
    "engine": (lambda: trainer_of(engine=FastEngine()), "engine torch, not fast"),
    "precision": (lambda: trainer_of(engine=TorchEngine("bf16")), "precision fp32, not bf16"),
}
OTHER_VERSIONS = {
    "format": (changed("format", to=0), "format 0, not "),
    "PyTorch": (changed("PyTorch", to="1.13.1"), rf"PyTorch 1\.13\.1, not {torch.__version__[0]}\."),
    "device": (changed("device", to="cuda"), "device cuda, not cpu"),
    "a field that is no more": (changed("config", "model", "depth", to=3), "config.model.depth 3, not None"),
    "a section that is not there": (changed("config", "windows", to=None), "config.windows None, not "),
}


class TestRefusal:
    def check(self, folder: Path, trainer: Trainer, difference: str) -> None:
        (path,) = checkpoints_in(folder)
        before = path.read_bytes()
        with pytest.raises(CheckpointError, match=difference) as caught:
            Checkpoints(folder).follow(trainer)
        message = str(caught.value)
        assert message.startswith(f"{path}: of another {difference.partition(' ')[0]}")
        assert message.endswith(f"delete {folder} to train this run from its start")
        assert path.read_bytes() == before

    @pytest.mark.parametrize("name", OTHER_RUNS)
    def test_of_another_run(self, tmp_path: Path, name: str) -> None:
        pause(tmp_path / "run", 4)
        make, difference = OTHER_RUNS[name]
        self.check(tmp_path / "run", make(), difference)
        # the way out that the message gives
        shutil.rmtree(tmp_path / "run")
        assert not Checkpoints(tmp_path / "run").follow(make())

    @pytest.mark.parametrize("name", OTHER_VERSIONS)
    def test_of_another_version(self, tmp_path: Path, name: str) -> None:
        pause(tmp_path, 4)
        change, difference = OTHER_VERSIONS[name]
        reseal(checkpoints_in(tmp_path)[0], change)
        self.check(tmp_path, trainer_of(), difference)

    def test_the_same_run_after_resealing_is_not_refused(self, tmp_path: Path) -> None:
        pause(tmp_path, 4)
        reseal(checkpoints_in(tmp_path)[0], lambda values: None)
        assert to_the_end(tmp_path)[0] == uninterrupted()

    @pytest.mark.parametrize(
        ("section", "younger"),
        [("optimizer", ["average_from_epoch"]), ("regularization", ["mask_per", "embedding_drops", "recurrent_drops"])],
    )
    def test_one_from_before_a_field_was_there_goes_on_at_its_default_alone(
        self, tmp_path: Path, section: str, younger: list[str]
    ) -> None:
        pause(tmp_path, 4)

        def forget(values: dict[str, Any]) -> None:
            for key in younger:
                del values["identity"]["config"][section][key]

        reseal(checkpoints_in(tmp_path)[0], forget)
        for key in younger:
            other = {"average_from_epoch": 1, "mask_per": "step"}.get(key, "units")
            now = override(SHORT, {section: {key: other}}, "the test")
            self.check(tmp_path, trainer_of(now), f"config.{section}.{key} ")
        assert to_the_end(tmp_path)[0] == uninterrupted()

    def test_what_cannot_be_read_is_not_taken_for_damage(self, tmp_path: Path) -> None:
        (tmp_path / "checkpoint-000000001.safetensors").mkdir()
        with pytest.raises(CheckpointError, match=r"checkpoint-000000001\.safetensors: cannot be read \(.+\)"):
            Checkpoints(tmp_path).follow(trainer_of())


def train_on_a_disk_that_fills(folder: Path, fill: Callable[[], None], free: Callable[[], None]) -> None:
    """The disk is full from the end of the second epoch until that of the fourth."""
    told: list[str] = []
    expected = uninterrupted(BOTH_PHASES)

    def at_the_end_of_an_epoch(record: EpochRecord) -> None:
        if (record.phase, record.epoch) == (TRAIN, 2):
            fill()
        if (record.phase, record.epoch) == (TRAIN, 4):
            assert len(told) == 1, told
            assert [where(path) for path in checkpoints_in(folder)] == [(TRAIN, 1, 0)]
            assert to_the_end(folder, BOTH_PHASES)[0] == expected
            free()

    trainer = trainer_of(BOTH_PHASES, on_epoch=at_the_end_of_an_epoch)
    Checkpoints(folder, Interval(epochs=1), warn=told.append).follow(trainer)
    assert outcome(trainer.run()) == expected
    assert [message.partition(" (")[0] for message in told] == [f"{folder}: no checkpoint could be written"]
    assert [where(path)[0] for path in checkpoints_in(folder)] == ["finetune", TEST]
    actual, checkpoints = to_the_end(folder, BOTH_PHASES)
    assert (actual, checkpoints.resumes) == (expected, 1)


def train_within_a_limit_of_file_sizes(folder: Path) -> None:
    from resource import RLIM_INFINITY, RLIMIT_FSIZE, setrlimit

    def limit(size: int) -> None:
        setrlimit(RLIMIT_FSIZE, (size, RLIM_INFINITY))

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    train_on_a_disk_that_fills(folder, lambda: limit(4096), lambda: limit(RLIM_INFINITY))


def train_on_a_small_disk(disk: Path) -> None:
    filler = disk / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            file.writelines(itertools.repeat(bytes(4096)))

    train_on_a_disk_that_fills(disk / "run", fill, filler.unlink)


def train_in_a_folder_that_may_not_be_written(parent: Path) -> None:
    os.chdir(parent)  # the folders that this is in may be closed to whom the process becomes
    folder = Path("run")
    pause(folder, 5)
    leftover = folder / ".checkpoint-000000002.safetensors.0123456789ab.tmp"
    leftover.touch()
    if os.geteuid() == 0:  # whom no mode keeps out
        for own in (Path(), folder):
            os.chown(own, 65534, 65534)
        os.setuid(65534)
    folder.chmod(0o500)
    told: list[str] = []
    trainer = trainer_of()
    checkpoints = Checkpoints(folder, EVERY_STEP, warn=told.append)
    assert checkpoints.follow(trainer)
    assert outcome(trainer.run()) == uninterrupted()
    assert told == ["run: no checkpoint could be written (Permission denied); the run is not saved meanwhile"]
    assert leftover.exists()
    folder.chmod(0o700)


class TestDisk:
    @pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="this system limits no file sizes")
    def test_that_takes_a_part_only(self, tmp_path: Path) -> None:
        in_a_process(train_within_a_limit_of_file_sizes, tmp_path / "run")

    def test_that_is_full(self, tmp_path: Path) -> None:
        # in a namespace of its own, which ends with its process: nothing stays mounted
        small_disk = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
        mount = 'mount -t tmpfs -o size=400k none "$0" &&'
        if (
            shutil.which("unshare") is None
            or subprocess.run([*small_disk, f"{mount} true", tmp_path], check=False).returncode
        ):
            pytest.skip("no small file system can be mounted here")
        script = (
            "import sys, pathlib, tests.awd.test_checkpoint as t; t.train_on_a_small_disk(pathlib.Path(sys.argv[1]))"
        )
        done = subprocess.run(
            [*small_disk, f'{mount} exec "$1" -c "$2" "$0"', tmp_path, sys.executable, script],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    @pytest.mark.skipif(os.name != "posix", reason="folders are guarded by other means here")
    def test_that_may_not_be_written(self, tmp_path: Path) -> None:
        in_a_process(train_in_a_folder_that_may_not_be_written, tmp_path)

    def test_where_the_folder_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "taken").write_text("a file")
        told: list[str] = []
        trainer = trainer_of()
        Checkpoints(tmp_path / "taken" / "run", EVERY_STEP, warn=told.append).follow(trainer)
        assert outcome(trainer.run()) == uninterrupted()
        assert len(told) == 1
        assert (tmp_path / "taken").read_text() == "a file"

    def test_each_new_reason_is_told(self, tmp_path: Path) -> None:
        told: list[str] = []
        trainer, checkpoints = trainer_of(), Checkpoints(tmp_path / "run", warn=told.append)
        (tmp_path / "run").write_text("a file")
        assert not checkpoints.save(trainer)
        assert not checkpoints.save(trainer)
        assert len(told) == 1
        (tmp_path / "run").unlink()
        assert checkpoints.save(trainer)
        assert checkpoints.save(trainer)
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").write_text("a file")
        assert not checkpoints.save(trainer)
        assert len(told) == 2
