"""The commands ``evaluate`` and ``generate``: what a saved model is for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.cli.console import stdout, tell
from ablations.cli.options import DataDirOption, ResultsOption
from awd.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from ablations.terminal import Sheet
    from awd.cache import Cache
    from awd.corpus.text import Encoded
    from awd.pretrained import Pretrained

_SPLITS = ("valid", "test")
RunArgument = Annotated[
    str, typer.Argument(help="A run's id, as its folder in RESULTS/weights; or a folder of weights.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
cached = partial(typer.Option, rich_help_panel="Continuous cache")


@dataclass(frozen=True)
class CacheOptions:
    """Whether a cache of the words just read is mixed into the predictions, and how."""

    cache: Annotated[
        bool, cached("--cache", help="Also with a continuous cache: words just read become more probable again.")
    ] = False
    tune_cache: Annotated[
        bool, cached("--tune-cache", help="The same, its settings chosen on valid from a small grid.")
    ] = False
    window: Annotated[int, cached("--window", min=1, help="How many words the cache holds.")] = 2000
    theta: Annotated[
        float, cached("--theta", min=0, help="0 counts words, a large one believes the most similar place alone.")
    ] = 0.6
    lambda_: Annotated[float, cached("--lambda", min=0, max=1, help="The cache's share in a word's probability.")] = 0.1


def evaluate(
    *,
    run: RunArgument,
    dataset: Annotated[
        str, typer.Option("--dataset", help="python-docs, ptb, wikitext-2, or a folder with train, valid and test.")
    ],
    caching: CacheOptions,
    results: ResultsOption = Path("results"),
    device: DeviceOption = "auto",
    data_dir: DataDirOption = None,
) -> None:
    """Perplexity of a finished run's best weights on the valid and test splits of any text; trains nothing.

    Words that the run's vocabulary lacks are read and predicted as `<unk>`: perplexities of two texts, or two
    vocabularies, compare only where few words are. On the run's own text the numbers are those of its report.

    **Examples**

    * `evaluate RUN --dataset my/folder`
    * `evaluate results/weights/RUN --dataset ptb --tune-cache`
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
    stdout.print(_table(saved, _batches(saved, corpus), corpus, title, caching))


def generate(
    *,
    run: RunArgument,
    words: Annotated[int, typer.Option("--words", min=1, help="How many, each line end counted as one.")] = 200,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="1 as the model predicts; less is tamer, 0 the likeliest.")
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="The same seed writes the same text.")] = 1,
    prompt: Annotated[str, typer.Option("--prompt", help="Words to go on from; blanks between them.")] = "",
    unknown: Annotated[bool, typer.Option("--unk", help="Let it write `<unk>`, too.")] = False,
    results: ResultsOption = Path("results"),
    device: DeviceOption = "auto",
) -> None:
    """Write text with a finished run's best weights, one line per sentence; trains nothing.

    **Example**: `generate RUN --words 200 --temperature 0.8 --seed 1 --prompt "the company said"`
    """
    from ablations.terminal import say
    from awd.corpus.text import EOS, UNK
    from awd.generation import generate as draw
    from awd.pretrained import load_pretrained

    saved = load_pretrained(weights_of(run, results), device=device)
    line = prompt.split()
    places = {word: place for place, word in enumerate(saved.words)}
    if EOS not in places:
        raise InputError(f"{run}: its vocabulary has no {EOS}, at which a text begins")
    unseen = [word for word in line if word not in places]
    if unseen and UNK not in places:
        raise InputError(f"--prompt: {unseen[0]!r} is not in the vocabulary of {run}, and it has no {UNK}")
    if unseen:
        tell(f"warning: read as {UNK}: {', '.join(unseen)}")
    ids = [places[EOS], *(places.get(word, places.get(UNK, 0)) for word in line)]
    barred = [places[UNK]] if UNK in places and not unknown else []
    try:
        drawn = draw(saved.model, ids, temperature=temperature, seed=seed, without=barred)
    except ValueError as error:
        raise InputError(f"generate: {error}") from None
    for word in (saved.words[place] for place in islice(drawn, words)):
        if word == EOS:
            say(stdout, " ".join(line))
            line = []
        else:
            line = [*line, word]
    say(stdout, " ".join(line))


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


def _batches(saved: Pretrained, corpus: Encoded) -> dict[str, Tensor]:
    """Both splits in columns, as many as the run had, so that its own text gives its own numbers; a short text has
    fewer."""
    import torch

    from awd.corpus.batching import batch_key, batchify

    batches = {}
    for split in _SPLITS:
        ids = torch.tensor(getattr(corpus, split), device=saved.model.decoder.bias.device)
        columns = max(1, min(getattr(saved.config.training, batch_key(split)), len(ids) // 2))
        batches[split] = batchify(ids, columns, split)
    return batches


def _cache(saved: Pretrained, valid: Tensor, caching: CacheOptions) -> Cache | None:
    from awd.cache import Cache, tune_cache

    if caching.tune_cache:
        found = tune_cache(saved.model, valid)
        tell(f"cache, best of the grid on valid: window {found.window}, theta {found.theta}, lambda {found.lambda_}")
        return found
    if not caching.cache:
        return None
    try:
        return Cache(caching.window, caching.theta, caching.lambda_)
    except ValueError as error:  # infinity passes the ranges of the options
        raise InputError(f"--cache: {error}") from None


def _table(saved: Pretrained, batches: dict[str, Tensor], corpus: Encoded, title: str, caching: CacheOptions) -> Sheet:
    from ablations.terminal import Sheet
    from awd import evaluation
    from awd.cache import evaluate_with_caches
    from awd.messages import number_text

    def text(loss: float) -> str:
        return number_text(evaluation.perplexity(loss))

    cache = _cache(saved, batches["valid"], caching)
    numbers = ["perplexity", *(["with cache"] if cache else []), "tokens", "<unk>"]
    sheet = Sheet(title, ["split", *numbers], numbers=numbers)
    for split in _SPLITS:
        mixed = [text(loss) for loss in evaluate_with_caches(saved.model, batches[split], [cache])] if cache else []
        loss = evaluation.evaluate(saved.model, batches[split])
        sheet.add(split, text(loss), *mixed, f"{len(getattr(corpus, split)):,}", f"{corpus.unknown[split]:.1%}")
    return sheet
