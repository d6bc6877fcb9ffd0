"""How much the paper trains."""

from __future__ import annotations

from ablations.experiment.paper import paper_config, paper_datasets, paper_tokens


def test_the_papers_training_is_known_without_its_texts() -> None:
    assert paper_tokens("ptb") == 929_589 * (750 + 500)
    assert paper_tokens("wikitext-2") == 2_088_628 * (750 + 750)
    assert paper_tokens("python-docs") is None
    assert paper_datasets() == ("ptb", "wikitext-2")


def test_the_configuration_is_that_of_the_text() -> None:
    ptb, wikitext = paper_config("ptb"), paper_config("wikitext-2")
    assert ptb is not None
    assert wikitext is not None
    assert (ptb.regularization.input_dropout, wikitext.regularization.input_dropout) == (0.4, 0.65)
    assert paper_config("my/folder") is None
