"""The command ``evaluate``: a saved model's perplexity on any text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.cli.console import stdout, tell
from ablations.cli.options import DataDirOption, ResultsOption
from awd.errors import InputError

if TYPE_CHECKING:
    from ablations.terminal import Sheet
    from awd.corpus.text import Encoded
    from awd.pretrained import Pretrained

_SPLITS = ("valid", "test")


def evaluate(
    run: Annotated[str, typer.Argument(help="A run's id, as its folder in RESULTS/weights; or a folder of weights.")],
    dataset: Annotated[
        str, typer.Option("--dataset", help="python-docs, ptb, wikitext-2, or a folder with train, valid and test.")
    ],
    results: ResultsOption = Path("results"),
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    data_dir: DataDirOption = None,
) -> None:
    """Perplexity of a finished run's best weights on the valid and test splits of any text; trains nothing.

    Words that the run's vocabulary lacks are read and predicted as `<unk>`: perplexities of two texts, or two
    vocabularies, compare only where few words are. On the run's own text the numbers are those of its report.

    **Examples**: `evaluate RUN --dataset my/folder`; `evaluate results/weights/RUN --dataset ptb`
    """
    from awd.corpus import load_corpus
    from awd.corpus.text import encode
    from awd.corpus.usage import all_warnings
    from awd.pretrained import load_pretrained

    saved = load_pretrained(weights_of(run, results), device=device)
    text = load_corpus(dataset, data_dir=data_dir, on_message=tell)
    corpus = encode(text, words=saved.words)
    shares = {split: share for split, share in corpus.unknown.items() if split in _SPLITS}
    for warning in all_warnings(text, shares):
        tell(f"warning: {warning}")
    title = f"{run} on {text.name}, in its vocabulary of {len(saved.words):,} words"
    stdout.print(_table(saved, corpus, shares, title))


def weights_of(run: str, results: Path) -> Path:
    """The folder that a run's id, or a path, stands for.

    Raises:
        InputError: there is none; says what there is.
    """
    known = results / "weights"
    for folder in (known / run, Path(run)):
        if run and folder.is_dir():
            return folder
    found = sorted(path.name for path in known.iterdir() if path.is_dir()) if known.is_dir() else []
    there = (
        f"in {known} there are {', '.join(found[:10])}{' and more' if len(found) > 10 else ''}"
        if found
        else (f"{known} holds none (--keep-weights none keeps none)")
    )
    raise InputError(f"{run!r}: neither a run with weights nor a folder of weights; {there}")


def _table(saved: Pretrained, corpus: Encoded, unknown: dict[str, float], title: str) -> Sheet:
    import torch

    from ablations.terminal import Sheet
    from awd import evaluation
    from awd.corpus.batching import batch_key, batchify
    from awd.messages import number_text

    numbers = ["perplexity", "tokens", "<unk>"]
    sheet = Sheet(title, ["split", *numbers], numbers=numbers)
    for split in _SPLITS:
        ids = torch.tensor(getattr(corpus, split), device=saved.model.decoder.bias.device)
        # as many columns as the run had, so that its own text gives its own numbers; a short text has fewer
        columns = max(1, min(getattr(saved.config.training, batch_key(split)), len(ids) // 2))
        loss = evaluation.evaluate(saved.model, batchify(ids, columns, split))
        perplexity = number_text(evaluation.perplexity(loss))
        sheet.add(split, perplexity, f"{len(ids):,}", f"{unknown[split]:.1%}")
    return sheet
