"""A saved network is the network; a folder is whole or refused, in one message that names the file."""

from __future__ import annotations

import hashlib
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
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given

from awd.config import Config, config_from_dict, config_to_dict
from awd.corpus.batching import batchify
from awd.engine import Engine
from awd.errors import DeviceError, InputError
from awd.evaluation import evaluate, perplexity
from awd.files import PLACEHOLDER, write_sealed
from awd.model import AWDLSTM
from awd.optim import Stepper
from awd.pretrained import Pretrained, PretrainedError, load_pretrained, save_pretrained
from awd.streams import Streams
from awd.trainer import Trainer
from tests.awd.engines import ENGINES, label
from tests.awd.resuming import PROCESSES, in_a_process
from tests.awd.strategies import bounded, trainable_values
from tests.awd.tiny import tiny_config, tiny_corpus

ROOT = Path(__file__).resolve().parents[2]
FILES = ["config.json", "vocabulary.json", "model.safetensors"]
WORDS = ["<eos>", "the", "cat", "<unk>", "sat", "on", "a"]

SIZES: dict[str, dict[str, Any]] = {
    "tied": {},
    "untied": {"tie_weights": False},
    "full size embedding": {"embedding_size": None},
    "full size embedding, untied": {"embedding_size": None, "tie_weights": False},
    "one layer": {"num_layers": 1},
    "one layer, untied": {"num_layers": 1, "tie_weights": False},
    "four layers": {"num_layers": 4},
}


def make(config: Config, words: list[str] = WORDS, seed: int = 1) -> AWDLSTM:
    return AWDLSTM(len(words), config.model, config.regularization, streams=Streams(seed))


def saved(folder: Path, config: Config | None = None, words: list[str] = WORDS, seed: int = 1) -> AWDLSTM:
    config = config or tiny_config()
    model = make(config, words, seed)
    save_pretrained(folder, model, config, words, seed=seed)
    return model


def text(vocabulary_size: int = len(WORDS)) -> torch.Tensor:
    return batchify(torch.randint(vocabulary_size, (90,), generator=torch.Generator().manual_seed(3)), 3, "test")


def forge(
    folder: Path,
    *,
    config: Any = None,
    words: Any = None,
    raw: dict[str, bytes] | None = None,
    tensors: Callable[[dict[str, torch.Tensor]], object] = lambda tensors: None,
    notes: Callable[[dict[str, Any]], object] = lambda notes: None,
) -> None:
    """Change what a folder says, with all digests and the seal made anew."""
    path = folder / "model.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["awd"])
    weights = safetensors.torch.load(path.read_bytes())
    contents = {} if raw is None else dict(raw)
    contents |= {} if config is None else {"config.json": json.dumps(config).encode()}
    contents |= {} if words is None else {"vocabulary.json": json.dumps(words).encode()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        said["sha256"][name] = hashlib.sha256(content).hexdigest()
    said["seal"] = PLACEHOLDER
    tensors(weights)
    notes(said)
    write_sealed(path, safetensors.torch.save(weights, {"awd": json.dumps(said)}))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_loaded_network_is_the_one_that_was_saved(tmp_path: Path, sizes: dict[str, Any]) -> None:
    config = tiny_config(model=sizes, regularization={"hidden_dropout": 0.125, "activation_penalty": 0.1})
    model = make(config)
    save_pretrained(tmp_path / "new" / "best", model, config, WORDS, run_id="ab12", seed=7, valid_ppl=61.25)
    found = load_pretrained(tmp_path / "new" / "best")
    assert (found.config, found.words) == (config, WORDS)
    assert found.about == {"run_id": "ab12", "seed": "7", "valid_ppl": "61.25"}
    assert [name for name, _ in found.model.named_parameters()] == [name for name, _ in model.named_parameters()]
    torch.testing.assert_close(found.model.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert (found.model.decoder.weight is found.model.embedding.weight) == config.model.tie_weights
    assert (found.model.model_config, found.model.regularization) == (config.model, config.regularization)
    assert not found.model.training
    assert all(parameter.requires_grad for parameter in found.model.parameters())
    assert evaluate(found.model, text()) == evaluate(model, text())


@bounded(25)
@given(values=trainable_values())
def test_every_configuration_that_trains_comes_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    config = config_from_dict(values, "drawn")
    folder = tmp_path_factory.mktemp("drawn")
    model = saved(folder, config)
    found = load_pretrained(folder)
    assert found.config == config
    assert evaluate(found.model, text()) == evaluate(model, text())


def test_the_best_weights_of_a_run_give_its_test_perplexity_again(tmp_path: Path) -> None:
    config, corpus = tiny_config(optimizer={"method": "asgd"}, training={"epochs": 2}), tiny_corpus()
    trainer = Trainer(config, corpus, seed=1)
    result = trainer.run()
    save_pretrained(tmp_path, result.model, config, corpus.words)
    model = AWDLSTM.from_pretrained(tmp_path)
    assert perplexity(evaluate(model, batchify(torch.tensor(corpus.test), 1, "test"))) == result.test_ppl


def test_the_defaults_come_back_resolved(tmp_path: Path) -> None:
    saved(tmp_path, replace(Config(), model=tiny_config().model))
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert written == config_to_dict(replace(Config(), model=tiny_config().model))
    assert written["optimizer"]["learning_rate"] == 30.0


def test_a_configuration_from_before_a_field_existed_takes_its_default(tmp_path: Path) -> None:
    saved(tmp_path)
    values = config_to_dict(tiny_config())
    del values["regularization"]["weight_decay"]
    forge(tmp_path, config=values)
    assert load_pretrained(tmp_path).config.regularization.weight_decay == Config().regularization.weight_decay


@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_is_stored_once_and_other_programs_read_it(tmp_path: Path, tied: bool) -> None:
    model = saved(tmp_path, tiny_config(model={"tie_weights": tied}))
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert stored.keys() == dict(model.named_parameters()).keys()
    assert ("decoder.weight" in stored) == (not tied)
    assert all(torch.equal(stored[name], parameter) for name, parameter in model.named_parameters())


def test_weights_are_stored_in_float32(tmp_path: Path, double: None) -> None:
    model = saved(tmp_path)
    assert model.embedding.weight.dtype == torch.float64
    loaded = AWDLSTM.from_pretrained(tmp_path)
    for name, parameter in model.named_parameters():
        assert torch.equal(dict(loaded.named_parameters())[name], parameter.float())
    assert evaluate(loaded, text()) == pytest.approx(evaluate(model, text()), rel=1e-5)


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = set()
    for number in range(5):
        model = make(tiny_config())
        save_pretrained(tmp_path / str(number), model, tiny_config(), WORDS, run_id="ab12", seed=7, b="b", c="c")
        contents.add(tuple((tmp_path / str(number) / name).read_bytes() for name in FILES))
    assert len(contents) == 1


def test_weights_lie_in_memory_as_those_of_a_new_network_do(tmp_path: Path) -> None:
    model = saved(tmp_path)
    for network in (model, AWDLSTM.from_pretrained(tmp_path)):
        assert {parameter.data_ptr() % 64 for parameter in network.parameters()} == {0}


def test_loading_leaves_the_global_generator_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    AWDLSTM.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    make(tiny_config())
    assert not torch.equal(torch.get_rng_state(), before)  # this would have been seen


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_the_device_is_the_one_asked_for(tmp_path: Path, device: torch.device | str) -> None:
    saved(tmp_path)
    model = AWDLSTM.from_pretrained(tmp_path, device=device)
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


@pytest.mark.parametrize("device", ["cuda:99", "tpu"])
def test_a_device_that_does_not_exist_is_refused(tmp_path: Path, device: str) -> None:
    saved(tmp_path)
    with pytest.raises(DeviceError, match=device):
        AWDLSTM.from_pretrained(tmp_path, device=device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("tied", [True, False])
def test_from_one_device_to_another_and_back(tmp_path: Path, tied: bool) -> None:
    model = saved(tmp_path / "cpu", tiny_config(model={"tie_weights": tied}))
    there = load_pretrained(tmp_path / "cpu", device="cuda:0")
    assert {parameter.device.type for parameter in there.model.parameters()} == {"cuda"}
    assert (there.model.decoder.weight is there.model.embedding.weight) == tied
    save_pretrained(tmp_path / "cuda", there.model, there.config, there.words)
    back = AWDLSTM.from_pretrained(tmp_path / "cuda")
    torch.testing.assert_close(back.state_dict(), model.state_dict(), rtol=0, atol=0)


def step(model: AWDLSTM, config: Config) -> dict[str, torch.Tensor]:
    """Train on, for a few steps, and give the weights."""
    model.train()
    stepper = Stepper(model, config.optimizer, 1.0, config.regularization.weight_decay)
    masks, tokens = Streams(9), text()
    for _ in range(3):
        output = model(tokens[:-1], model.initial_state(3), model.draw_masks(3, masks))
        stepper.step(model.loss(output, tokens[1:]).total)
    return model.state_dict()


@pytest.mark.parametrize("engine", ENGINES, ids=label)
@pytest.mark.parametrize("tied", [True, False])
def test_training_goes_on_as_it_would_have_under_every_engine(
    tmp_path: Path, engine: Engine, tied: bool, at_any_size: None
) -> None:
    config = tiny_config(model={"tie_weights": tied}, optimizer={"method": "asgd"})
    model = AWDLSTM(len(WORDS), config.model, config.regularization, streams=Streams(1), engine=engine)
    save_pretrained(tmp_path, model, config, WORDS)
    loaded = AWDLSTM.from_pretrained(tmp_path, engine=engine)
    assert [loaded.engine, *(layer.engine for layer in loaded.layers)] == [engine] * 3
    before = (tmp_path / "model.safetensors").read_bytes()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = step(model, config)
    torch.testing.assert_close(step(loaded, config), expected, rtol=0, atol=0)
    assert not torch.equal(expected["layers.0.weight_hh"], start["layers.0.weight_hh"])
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_words_of_every_kind_come_back(tmp_path: Path) -> None:
    words = [
        '"',
        "'",
        "\\",
        '\\"',
        "naïve",
        "zß水",
        "🎉",
        "👩\u200d🚀",
        "\u2028",
        "\x85",
        "\x00",
        "\ufeff",
        "a\r\nb",
        "",
        "x",
    ]
    saved(tmp_path, words=words)
    assert load_pretrained(tmp_path).words == words
    assert json.loads((tmp_path / "vocabulary.json").read_text(encoding="utf-8")) == words
    assert "🎉" in (tmp_path / "vocabulary.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("note", [PLACEHOLDER, PLACEHOLDER[:-64], PLACEHOLDER.replace("0", "1"), '"\\', "🎉"])
def test_what_is_said_about_it_may_be_any_text(tmp_path: Path, note: str) -> None:
    save_pretrained(tmp_path, make(tiny_config()), tiny_config(), WORDS, version=note, seal=note, zzz=note)
    assert load_pretrained(tmp_path).about == {"version": note, "seal": note, "zzz": note}


def test_a_folder_may_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = saved(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there, and 水")
    monkeypatch.chdir(tmp_path)
    loaded = AWDLSTM.from_pretrained("there, and 水")
    shutil.rmtree(tmp_path / "there, and 水")
    assert evaluate(loaded, text()) == evaluate(model, text())


def test_loading_does_not_import_the_ablations(tmp_path: Path) -> None:
    saved(tmp_path)
    script = (
        "import sys\nfrom awd import AWDLSTM\nAWDLSTM.from_pretrained(sys.argv[1])\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('ablations', 'benchmarks', 'tests')])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("config", "words", "fault"),
    [
        (tiny_config(model={"hidden_size": 7}), WORDS, "layers.0.bias_hh"),
        (tiny_config(model={"tie_weights": False}), WORDS, "decoder.weight is missing"),
        (tiny_config(model={"num_layers": 1, "hidden_size": 5}), WORDS, "bias_hh"),
        (tiny_config(), WORDS[:-1], "6 words"),
        (tiny_config(), [*WORDS, "dog"], "8 words"),
    ],
)
def test_a_network_of_another_configuration_is_not_saved(
    tmp_path: Path, config: Config, words: list[str], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        save_pretrained(tmp_path / "best", make(tiny_config()), config, words)
    assert not (tmp_path / "best").exists()


def some_places(content: bytes) -> list[int]:
    """All of a short file; of a longer one its ends and a thousand between."""
    drawn = random.Random(2).sample(range(len(content)), min(1000, len(content)))
    return sorted({0, len(content) - 1, *drawn})


@pytest.mark.parametrize("name", FILES)
def test_every_changed_byte_is_noticed(tmp_path: Path, name: str) -> None:
    saved(tmp_path)
    path = tmp_path / name
    content, draw = path.read_bytes(), random.Random(1)
    for place in some_places(content):
        changed = bytearray(content)
        changed[place] ^= draw.randrange(1, 256)
        path.write_bytes(changed)
        with pytest.raises(InputError, match=name):
            load_pretrained(tmp_path)
    path.write_bytes(content)
    load_pretrained(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_every_cut_and_every_addition_is_noticed(tmp_path: Path, name: str) -> None:
    saved(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    for wrong in [*(content[:place] for place in some_places(content)), content + b" ", content + b"\n", content * 2]:
        path.write_bytes(wrong)
        with pytest.raises(InputError, match=name):
            load_pretrained(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_folder_is_noticed(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "a")
    saved(tmp_path / "b", tiny_config(training={"epochs": 7}), [*WORDS[:-1], "dog"], seed=2)
    shutil.copy(tmp_path / "b" / name, tmp_path / "a" / name)
    # the weights' file is the one that says which the others are
    named = "config.json" if name == "model.safetensors" else name
    with pytest.raises(PretrainedError, match=rf"{named}: damaged or changed: not the file that model\.safetensors"):
        load_pretrained(tmp_path / "a")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    saved(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(PretrainedError, match=rf"{name}: cannot be read \(No such file"):
        load_pretrained(tmp_path)
    (tmp_path / name).mkdir()
    with pytest.raises(PretrainedError, match=rf"{name}: cannot be read"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, name: str) -> None:
    saved(tmp_path)
    (tmp_path / name).chmod(0)
    with pytest.raises(PretrainedError, match=rf"{name}: cannot be read"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("folder", ["none", "none/at/all", "file", "nul\0l"])
def test_a_missing_folder_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(PretrainedError, match=f"{folder}: no such folder"):
        AWDLSTM.from_pretrained(tmp_path / folder)


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_is_refused_and_not_executed(tmp_path: Path, kind: str, sealed: bool) -> None:
    folder, fired = tmp_path / "best", tmp_path / "fired"
    saved(folder)
    path, content = folder / "model.safetensors", [_Bomb(fired), PLACEHOLDER]
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path)
    if sealed:
        write_sealed(path, path.read_bytes())
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_pretrained(folder)
    assert not fired.exists()
    if kind == "pickle":
        pickle.loads(path.read_bytes())
        assert fired.exists()  # it would have


def changed(section: str, **values: Any) -> dict[str, Any]:
    config = config_to_dict(tiny_config())
    config[section] = {**config[section], **values}
    return config


# sealed, and yet not what it should be: made by hand, or by another version
FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "config: unknown section": ({"config": {"modle": {}}}, r"config\.json: modle: .*did you mean 'model'"),
    "config: unknown key": (
        {"config": changed("model", hiden_size=3)},
        r"config\.json: model\.hiden_size: unknown key",
    ),
    "config: impossible": ({"config": changed("model", hidden_size="6")}, r"config\.json: model\.hidden_size: '6'"),
    "config: NaN": ({"config": changed("optimizer", learning_rate=float("nan"))}, r"config\.json: .*learning_rate"),
    "config: a list": ({"config": []}, r"config\.json: \(top level\): \[\] is not a mapping"),
    "config: a word": ({"config": "model"}, r"config\.json: \(top level\)"),
    "config: a section of another shape": ({"config": {"model": [1]}}, r"config\.json: model"),
    "config: no JSON": ({"raw": {"config.json": b"{"}}, r"config\.json: not JSON"),
    "config: empty": ({"raw": {"config.json": b""}}, r"config\.json: not JSON"),
    "config: no UTF-8": ({"raw": {"config.json": b"\xff\xfe"}}, r"config\.json: not JSON"),
    "config: deep": ({"raw": {"config.json": b"[" * 200_000}}, r"config\.json: not JSON"),
    "config: other sizes": (
        {"config": changed("model", hidden_size=7)},
        r"model\.safetensors: .*config\.json .*ask for",
    ),
    "config: larger than memory": ({"config": changed("model", hidden_size=10**6)}, r"model\.safetensors: .*ask for"),
    "config: a layer more": ({"config": changed("model", num_layers=3)}, r"model\.safetensors: layers\."),
    "config: untied": ({"config": changed("model", tie_weights=False)}, r"decoder\.weight is missing"),
    "words: too few": ({"words": WORDS[:-1]}, r"model\.safetensors: .*6 words of vocabulary\.json"),
    "words: too many": ({"words": [*WORDS, "dog"]}, r"model\.safetensors: .*8 words of vocabulary\.json"),
    "words: none": ({"words": []}, r"vocabulary\.json: no word"),
    "words: one twice": ({"words": [*WORDS[:-1], WORDS[0]]}, r"vocabulary\.json: .* is there 2 times"),
    "words: a mapping": ({"words": {"the": 0}}, r"vocabulary\.json: \(top level\)"),
    "words: numbers": ({"words": [*WORDS[:-1], 5]}, r"vocabulary\.json: entry 7: 5 is not text"),
    "words: half a character": ({"raw": {"vocabulary.json": b'["\\ud800"]'}}, r"vocabulary\.json"),
    "words: no JSON": ({"raw": {"vocabulary.json": b"the cat"}}, r"vocabulary\.json: not JSON"),
    "weights: one missing": (
        {"tensors": lambda t: t.pop("layers.1.bias_ih")},
        r"model\.safetensors: layers\.1\.bias_ih is missing",
    ),
    "weights: all missing": ({"tensors": dict.clear}, r"model\.safetensors: decoder\.bias is missing"),
    "weights: one too many": (
        {"tensors": lambda t: t.update(x=torch.ones(1))},
        r"model\.safetensors: x is one too many",
    ),
    "weights: of another shape": (
        {"tensors": lambda t: t.update({"embedding.weight": t["embedding.weight"].T.contiguous()})},
        r"model\.safetensors: embedding\.weight has the shape \[5, 7\], .* ask for \[7, 5\]",
    ),
    "weights: float16": (
        {"tensors": lambda t: t.update({"decoder.bias": t["decoder.bias"].half()})},
        r"model\.safetensors: decoder\.bias is in torch\.float16",
    ),
    "notes: another version": ({"notes": lambda n: n.update(version=2)}, r"model\.safetensors: version: 2"),
    "notes: no digests": ({"notes": lambda n: n.pop("sha256")}, r"model\.safetensors: sha256: this key is required"),
    "notes: a digest missing": (
        {"notes": lambda n: n["sha256"].pop("config.json")},
        r"config\.json: damaged or changed",
    ),
    "notes: about no text": ({"notes": lambda n: n.update(about=5)}, r"model\.safetensors: about"),
}


@pytest.mark.parametrize(("change", "message"), FORGED.values(), ids=FORGED)
def test_what_is_wrong_is_said_with_the_file(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    saved(tmp_path)
    forge(tmp_path, **change)
    with pytest.raises(InputError, match=message):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        PLACEHOLDER.encode(),
        safetensors.torch.save({"x": torch.ones(2)}, {"seal": PLACEHOLDER}),
        safetensors.torch.save({"x": torch.ones(2)}, {"awd": PLACEHOLDER}),
        safetensors.torch.save({"x": torch.ones(2)}, {"awd": json.dumps([PLACEHOLDER])}),
        safetensors.torch.save({PLACEHOLDER: torch.ones(2)}),
        safetensors.torch.save({PLACEHOLDER: torch.ones(0)}),
    ],
    ids=["no tensors", "another program's", "no JSON", "a list", "no metadata", "an empty tensor"],
)
def test_a_sealed_file_of_something_else_is_named(tmp_path: Path, content: bytes) -> None:
    saved(tmp_path)
    write_sealed(tmp_path / "model.safetensors", content)
    with pytest.raises(PretrainedError, match=r"model\.safetensors"):
        load_pretrained(tmp_path)


def test_a_folder_is_saved_over(tmp_path: Path) -> None:
    saved(tmp_path)
    other = saved(tmp_path, tiny_config(model={"hidden_size": 9}), [*WORDS, "dog"], seed=2)
    assert evaluate(AWDLSTM.from_pretrained(tmp_path), text()) == evaluate(other, text())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def network(seed: int) -> tuple[AWDLSTM, Config]:
    config = tiny_config(model={"hidden_size": 200 + seed})
    return AWDLSTM(3, config.model, streams=Streams(seed)), config


def save(folder: Path, seed: int) -> None:
    model, config = network(seed)
    save_pretrained(folder, model, config, ["a", "b", "c"], seed=seed)


def save_two_by_turns(folder: Path) -> None:
    for seed in itertools.cycle((1, 2)):
        save(folder, seed)


def save_within_a_limit_of_file_sizes(folder: Path) -> None:
    from resource import RLIMIT_FSIZE, setrlimit

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    setrlimit(RLIMIT_FSIZE, (2500, 2500))
    save(folder, 1)


def test_a_full_disk_leaves_no_folder_that_loads(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the write fails in the middle, as it would there."""
    with pytest.raises(OSError, match="File too large"):
        in_a_process(save_within_a_limit_of_file_sizes, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "vocabulary.json"]
    with pytest.raises(PretrainedError, match=r"model\.safetensors: cannot be read"):
        load_pretrained(tmp_path)


def test_a_killed_save_leaves_a_network_or_a_refusal(tmp_path: Path) -> None:
    draw = random.Random(4)
    for number in range(3):
        folder = tmp_path / str(number)
        child = PROCESSES.Process(target=save_two_by_turns, args=(folder,))
        child.start()
        while not (folder / "model.safetensors").exists():
            assert child.is_alive()
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.1))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        found = what_loads(folder)
        if isinstance(found, str):
            assert "not the file that model.safetensors was saved with" in found
            continue
        model, _ = network(int(found.about["seed"]))
        torch.testing.assert_close(found.model.state_dict(), model.state_dict(), rtol=0, atol=0)


def what_loads(folder: Path) -> Pretrained | str:
    """The network, or why there is none."""
    try:
        return load_pretrained(folder)
    except PretrainedError as error:
        return str(error)
