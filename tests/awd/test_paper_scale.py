"""The paper's own configuration on the paper's own corpus: slow, and skipped where the corpus is not at hand."""

from __future__ import annotations

import dataclasses
import math

import pytest

from awd.config import Config, config_to_dict, override
from awd.corpus import load_corpus
from awd.corpus.text import encode
from awd.trainer import Trainer
from tests.data_folder import real_data_folder


@pytest.mark.slow
def test_ten_steps_of_the_paper_profile_on_penn_treebank() -> None:
    corpus = encode(load_corpus("ptb", data_dir=real_data_folder()))
    assert len(corpus.words) == 10_000
    config = override(Config(), {"training": {"epochs": 1}, "finetuning": {"epochs": 0}}, "test")
    assert config_to_dict(config)["model"] == config_to_dict(Config())["model"]
    # ten windows of about 70 rows; the whole vocabulary stays
    short = dataclasses.replace(
        corpus, train=corpus.train[: 40 * 690], valid=corpus.valid[:2_000], test=corpus.test[:200]
    )
    trainer = Trainer(config, short, seed=1)
    assert sum(parameter.numel() for parameter in trainer.model.parameters()) == 24_221_600
    result = trainer.run()
    # a uniform guess is ln(10,000) = 9.21 nats; ten steps at rate 30 leave it, and do not diverge
    assert 6.0 < math.log(result.epochs[0].train_ppl) < 9.3
    assert math.log(result.valid_ppl) < 9.0
