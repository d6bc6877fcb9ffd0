import pytest
import torch

from awd.config import TrainingConfig
from awd.corpus import DATASETS, load_corpus
from awd.corpus.batching import batchify, predicted_tokens, require_fit
from awd.corpus.files import find_splits
from awd.corpus.text import SPLITS, encode
from awd.errors import CorpusError

KEYS = {"train": "batch_size", "valid": "valid_batch_size", "test": "test_batch_size"}


@pytest.mark.parametrize(("tokens", "columns"), [(10, 1), (10, 2), (11, 2), (103, 10), (8, 4)])
def test_columns_read_one_after_the_other_are_the_text_in_order(tokens, columns):
    batches = batchify(torch.arange(tokens), columns, "train")
    assert batches.shape == (tokens // columns, columns)
    assert batches.t().flatten().tolist() == list(range(tokens // columns * columns))


def test_time_runs_down_the_rows():
    assert batchify(torch.arange(6), 2, "train").tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(("split", "key"), KEYS.items())
def test_a_split_too_short_to_predict_anything_is_refused(split, key):
    with pytest.raises(CorpusError) as caught:
        batchify(torch.arange(19), 10, split)
    assert str(caught.value).startswith(f"the {split} split has 19 tokens, too few for 10 columns: at least 20 ")
    assert str(caught.value).endswith(f"a smaller training.{key}")
    assert len(batchify(torch.arange(20), 10, split)) == 2


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_is_checked_against_its_own_batch(split):
    columns = {"train": 4, "valid": 3, "test": 2}
    training = TrainingConfig(batch_size=4, valid_batch_size=3, test_batch_size=2)
    fitting = {name: 2 * count for name, count in columns.items()}
    require_fit(fitting, training)
    with pytest.raises(CorpusError, match=f"the {split} split"):
        require_fit(fitting | {split: fitting[split] - 1}, training)


@pytest.mark.parametrize(("tokens", "columns"), [(10, 1), (11, 2), (103, 10)])
def test_all_but_the_first_of_each_column_are_predicted(tokens, columns):
    assert predicted_tokens(tokens, columns) == batchify(torch.arange(tokens), columns, "train")[1:].numel()


def words_of_the_file(folder, name, split):
    """A published split's words as the literature reads them: an ``<eos>`` a line."""
    dataset = DATASETS[name]
    found = [path for sub in dataset.folders for path in find_splits(folder / sub, dataset.patterns)[split]]
    return found[0].read_text(encoding="utf-8").replace("\n", " <eos> ").split()


@pytest.mark.parametrize(("name", "columns"), [("ptb", (40, 10, 1)), ("wikitext-2", (80, 10, 1))])
def test_batches_of_the_papers_corpora_hold_their_text_in_order(real_data, name, columns):
    corpus = encode(load_corpus(name, data_dir=real_data))
    for split, size in zip(SPLITS, columns, strict=True):
        batches = batchify(torch.tensor(getattr(corpus, split)), size, split)
        read_by_columns = [corpus.words[index] for column in batches.unbind(dim=1) for index in column.tolist()]
        words = words_of_the_file(real_data, name, split)
        assert read_by_columns == words[: len(read_by_columns)]
        assert len(words) - len(read_by_columns) == len(words) % size
