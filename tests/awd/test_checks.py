"""Whatever is handed to the library fits, or ends in a ValueError that names what was given and what is expected."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from awd import AWDLSTM, FastEngine, ModelConfig, Streams, Trainer, encode, evaluate, load_corpus, save_pretrained
from awd.config import RegularizationConfig
from awd.corpus.batching import batchify
from awd.corpus.text import Encoded
from awd.dropout import no_masks
from awd.lstm import WeightDropLSTM
from tests.awd.engines import ENGINES, label
from tests.awd.strategies import bounded
from tests.awd.tiny import tiny_config, tiny_corpus

VOCABULARY, TIME, BATCH, WIDTHS = 50, 7, 3, [12, 12, 8]
in_every_engine = pytest.mark.parametrize("engine", ENGINES, ids=label)


def make(engine=ENGINES[0]) -> AWDLSTM:
    return AWDLSTM(VOCABULARY, ModelConfig(embedding_size=8, hidden_size=12), streams=Streams(0), engine=engine)


def tokens() -> torch.Tensor:
    return torch.randint(VOCABULARY, (TIME, BATCH), generator=torch.Generator().manual_seed(0))


def wrong(what, *, of):
    """A state in which one part is another, ``what(part)``; ``of`` is its layer and which of hidden and cell."""
    state = [list(pair) for pair in make().initial_state(BATCH)]
    state[of[0]][of[1]] = what(state[of[0]][of[1]])
    return state


@pytest.mark.usefixtures("at_any_size")
@in_every_engine
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch", [1, 2, 5, 40])
def test_a_state_of_another_batch_is_refused_by_both_sizes(batch, training, engine):
    model = make(engine).train(training)
    with pytest.raises(ValueError, match=rf"state of layer 0, hidden: given shape \({batch}, 12\), expected \(3, 12\)"):
        model(tokens(), model.initial_state(batch))


STATES = {
    "rank": (lambda part: part[None], "shape (1, 3, 12), expected (3, 12)"),
    "width": (lambda part: part[:, :11], "shape (3, 11), expected (3, 12)"),
    "turned round": (lambda part: part.t(), "shape (12, 3), expected (3, 12)"),
    "type": (lambda part: part.double(), "torch.float64, expected torch.float32"),
    "integers": (lambda part: part.long(), "torch.int64, expected torch.float32"),
    "device": (lambda part: part.to("meta"), "on meta, expected on cpu"),
    "nothing": (lambda part: None, "NoneType, expected a tensor"),
}


@pytest.mark.parametrize(("what", "told"), STATES.values(), ids=STATES)
@pytest.mark.parametrize("of", [(0, 0), (1, 1)])
def test_a_state_of_another_kind_is_refused_by_its_layer(what, told, of):
    with pytest.raises(ValueError, match=f"state of layer {of[0]}, {('hidden', 'cell')[of[1]]}") as caught:
        make()(tokens(), wrong(what, of=of))
    assert told in str(caught.value)


def test_layers_in_another_order_too_few_and_too_many_are_refused():
    model = make()
    state = model.initial_state(BATCH)
    for other, told in [
        (state[::-1], r"layer 0, hidden: given shape \(3, 8\), expected \(3, 12\)"),
        (state[:2], "given 2, expected 3"),
        ([*state, state[0]], "given 4, expected 3"),
        (state[0][0], "given Tensor, expected a list of 3"),
        ([pair[0] for pair in state], "layer 0: given Tensor, expected a list of 2"),
    ]:
        with pytest.raises(ValueError, match=told):
            model(tokens(), other)


TOKENS = {
    "rank": (lambda ids: ids[0], r"given shape \(3,\), expected \(time, batch\)"),
    "no step": (lambda ids: ids[:0], r"given shape \(0, 3\)"),
    "no column": (lambda ids: ids[:, :0], r"given shape \(7, 0\)"),
    "type": (lambda ids: ids.float(), "given torch.float32, expected torch.int64"),
    "bytes": (lambda ids: ids.byte(), "given torch.uint8, expected torch.int64"),
    "device": (lambda ids: ids.to("meta"), "given on meta, expected on cpu"),
    "list": (lambda ids: ids.tolist(), "given list, expected a tensor"),
    "beyond": (
        lambda ids: ids + VOCABULARY,
        r"given ids from \d+ to \d+, expected 0 to 49: the vocabulary has 50 words",
    ),
    "negative": (lambda ids: ids - 100, "expected 0 to 49"),
}


@pytest.mark.parametrize(("what", "told"), TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("training", [True, False])
def test_tokens_that_are_no_ids_of_the_vocabulary_are_refused(what, told, training):
    model = make().train(training)
    with pytest.raises(ValueError, match=f"tokens: .*{told}"):
        model(what(tokens()), model.initial_state(BATCH))
    with pytest.raises(ValueError, match=f"batches: .*{told}".replace("time, batch", "rows, columns")):
        evaluate(model, what(tokens()))
    assert model.training == training


def test_a_text_of_one_row_cannot_be_evaluated():
    with pytest.raises(ValueError, match="given 1 row, expected 2 or more"):
        evaluate(make(), tokens()[:1])


TARGETS = {key: value for key, value in TOKENS.items() if key not in ("rank", "no step", "no column")} | {
    "turned round": (lambda ids: ids.t(), r"given shape \(3, 7\), expected \(7, 3\)"),
    "shorter": (lambda ids: ids[:-1], r"given shape \(6, 3\), expected \(7, 3\)"),
    "one to ignore": (lambda ids: ids.fill_(-100), "given ids from -100"),
}


@pytest.mark.usefixtures("at_any_size")
@in_every_engine
@pytest.mark.parametrize(("what", "told"), TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("training", [True, False])
def test_targets_that_are_no_ids_of_the_vocabulary_are_refused_by_every_engine(what, told, training, engine):
    model = make(engine).train(training)
    output = model(tokens(), model.initial_state(BATCH))
    with pytest.raises(ValueError, match=f"targets: .*{told}"):
        model.loss(output, what(tokens()))


MASKS = {
    "embedding": lambda masks: replace(masks, embedding=torch.ones(VOCABULARY - 1, 1)),
    "input": lambda masks: replace(masks, input=torch.ones(1, BATCH - 1, 8)),
    "hidden after layer 1": lambda masks: replace(masks, hidden=(None, torch.ones(1, BATCH, 8))),
    "output": lambda masks: replace(masks, output=torch.ones(TIME, BATCH, 8)),
    "weight of layer 2": lambda masks: replace(masks, weight=(None, None, torch.ones(8, 32))),
    "type": lambda masks: replace(masks, input=torch.ones(1, BATCH, 8).double()),
    "hidden": lambda masks: replace(masks, hidden=(None,)),
    "weight": lambda masks: replace(masks, weight=(None,) * 4),
}


@pytest.mark.parametrize("what", MASKS.values(), ids=MASKS)
def test_masks_of_another_network_are_refused(what):
    model = make()
    with pytest.raises(ValueError, match=r"mask.*given .*expected "):
        model(tokens(), model.initial_state(BATCH), what(no_masks(3)))


def test_masks_of_another_kind_are_refused_by_both_shapes():
    model = AWDLSTM(VOCABULARY, model_config := make().model_config, RegularizationConfig(mask_per="step"))
    locked = make().draw_masks(BATCH)
    with pytest.raises(ValueError, match=r"mask, input: given shape \(1, 3, 8\), expected \(7, 3, 8\)"):
        model(tokens(), model.initial_state(BATCH), locked)
    model = AWDLSTM(VOCABULARY, model_config, RegularizationConfig(embedding_drops="units"))
    with pytest.raises(ValueError, match=r"mask, embedding: given shape \(50, 1\), expected \(50, 8\)"):
        model(tokens(), model.initial_state(BATCH), locked)


@in_every_engine
def test_a_layer_refuses_what_is_not_its_own(engine):
    layer, state = WeightDropLSTM(4, 5, engine), torch.zeros(BATCH, 5)
    inputs = torch.zeros(TIME, BATCH, 4)
    for arguments, told in [
        ((inputs[..., :3], (state, state)), r"inputs: given shape \(7, 3, 3\), expected \(time, batch, 4\)"),
        ((inputs[:, 0], (state, state)), r"inputs: given shape \(7, 4\)"),
        ((inputs.double(), (state, state)), "inputs: given torch.float64, expected torch.float32"),
        ((inputs, (state, state[:1])), r"state, cell: given shape \(1, 5\), expected \(3, 5\)"),
        ((inputs, state), "state: given Tensor, expected a list of 2"),
        ((inputs, (state, state), torch.ones(5, 20)), r"weight_mask: given shape \(5, 20\), expected \(20, 5\)"),
    ]:
        with pytest.raises(ValueError, match=told):
            layer(*arguments)


def test_an_output_of_another_network_has_no_loss_and_no_logits():
    other = AWDLSTM(VOCABULARY, ModelConfig(embedding_size=9, hidden_size=12))
    output = other(tokens(), other.initial_state(BATCH))
    for call in (lambda: make().logits(output), lambda: make().loss(output, tokens())):
        with pytest.raises(ValueError, match=r"output.dropped: given shape \(7, 3, 9\), expected \(time, batch, 8\)"):
            call()


@pytest.mark.parametrize("size", [0, -1, 2.5, "3", None])
def test_sizes_are_integers_from_one_on(size):
    model = make()
    calls = [
        lambda: AWDLSTM(size),
        lambda: WeightDropLSTM(size, 5),
        lambda: WeightDropLSTM(5, size),
        lambda: model.initial_state(size),
        lambda: model.draw_masks(size),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"given {size!r}, expected an integer from 1 on"):
            call()


def test_a_corpus_of_ids_beyond_its_words_is_refused():
    corpus = tiny_corpus()
    for split in ("train", "valid", "test"):
        for id_ in (-1, len(corpus.words)):
            with pytest.raises(ValueError, match=rf"{split}: given ids from .* the vocabulary has 13 words"):
                replace(corpus, **{split: [*getattr(corpus, split), id_]})
    with pytest.raises(ValueError, match=r"tokens: given shape \(2, 3\), expected \(tokens,\)"):
        batchify(torch.zeros(2, 3, dtype=torch.int64), 1, "train")
    with pytest.raises(ValueError, match="batch_size: given 0"):
        batchify(torch.zeros(9, dtype=torch.int64), 0, "train")


def test_a_trainer_refuses_tokens_that_are_no_integers_and_such_seeds():
    corpus = tiny_corpus()
    fractions = Encoded(corpus.words, [id_ + 0.5 for id_ in corpus.train[:-1]], corpus.valid, corpus.test)
    with pytest.raises(ValueError, match=r"tokens: given torch.float\d+, expected torch.int64"):
        Trainer(tiny_config(), fractions, 1).run()
    for seed in (1.0, "1", None):
        with pytest.raises(ValueError, match=f"seed: given {seed!r}, expected an integer"):
            Trainer(tiny_config(), corpus, seed)


@pytest.mark.parametrize(
    ("words", "told"), [([], "no word"), (["a", 1], "not all"), (["a", "b", "a"], "'a' is there 2 times")]
)
def test_words_that_are_no_vocabulary_are_not_saved(tmp_path, words, told):
    config = tiny_config()
    with pytest.raises(ValueError, match=f"words: {told}"):
        save_pretrained(tmp_path / "run", AWDLSTM(max(1, len(words)), config.model), config, words)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("at_any_size")
@bounded(200)
@given(
    shape=st.lists(st.integers(0, 13), min_size=0, max_size=3),
    layer=st.integers(0, 2),
    part=st.integers(0, 1),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool]),
    fast=st.booleans(),
    training=st.booleans(),
)
def test_whatever_state_is_handed_in_it_fits_or_is_refused(shape, layer, part, dtype, fast, training):
    model = make(FastEngine() if fast else ENGINES[0]).train(training)
    state = wrong(lambda _: torch.zeros(shape, dtype=dtype), of=(layer, part))
    if shape == [BATCH, WIDTHS[layer]] and dtype == torch.float32:
        assert model(tokens(), state).raw.shape == (TIME, BATCH, 8)
    else:
        with pytest.raises(ValueError, match=r"given .*expected "):
            model(tokens(), state)


def test_a_text_in_another_vocabulary_meets_a_model_that_has_fewer_words():
    corpus = encode(load_corpus("python-docs"))
    with pytest.raises(ValueError, match=r"batches: given ids from 0 to \d+, expected 0 to 49"):
        evaluate(make(), batchify(torch.tensor(corpus.test), 10, "test"))
