"""What the command line asked for, and the corpora and plans that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ablations.experiment.hypotheses import Hypotheses, load_hypotheses
from ablations.experiment.plan import Corpus, RunSpec, make_plan, parse_settings
from ablations.experiment.profile import LARGEST_SEED, Profile, load_profile
from ablations.experiment.suite import Published, Suite, load_published, load_suite
from awd.corpus import DATASETS, corpus_identity, load_corpus
from awd.corpus.text import Text
from awd.corpus.usage import Usage, examine
from awd.device import resolve_device
from awd.errors import ConfigError, InputError
from awd.paths import folder_name, user_path

_MOST_SEEDS = 100
AUTO = "auto"


@dataclass(frozen=True)
class Selection:
    """A suite at a profile's scale on some data sets.

    Attributes:
        suite: the variants.
        published: numbers published for them, if any.
        hypotheses: what was concluded from those, if anything.
        profile: the scale.
        datasets: built-in names, or paths of folders.
        variants: names; ``None`` is all.
        seeds: ``None`` takes the profile's.
        assignments: the ``--set`` options.
        data_dir: folder of the corpora, if one was given.
        engine: as asked for, maybe ``auto``; likewise ``precision`` and ``device``.
    """

    suite: Suite
    published: Published | None
    profile: Profile
    datasets: tuple[str, ...]
    hypotheses: Hypotheses | None = None
    variants: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    assignments: tuple[str, ...] = ()
    data_dir: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    engine: str = AUTO
    precision: str = AUTO
    device: str = AUTO

    @cached_property
    def computed_by(self) -> tuple[str, str]:
        """Engine and precision, with ``auto`` resolved for this machine."""
        if AUTO not in (self.engine, self.precision):
            return self.engine, self.precision
        from awd.engine import make_engine

        engine = make_engine(self.engine, self.precision, resolve_device(self.device))
        return engine.name, engine.precision

    def resolved(self) -> Selection:
        """The same selection, with ``auto`` replaced by what it is on this machine."""
        engine, precision = self.computed_by
        return replace(self, engine=engine, precision=precision)

    def only(self, variant: str) -> Selection:
        """The same selection, of one variant alone."""
        return replace(self, variants=(variant,))

    def texts(self, on_message: Callable[[str], None]) -> list[Text]:
        """Load every corpus, downloading what is missing."""
        return [load_corpus(name, data_dir=self.data_dir, on_message=on_message) for name in self.datasets]

    def corpora(self) -> list[Corpus]:
        """Name and digest of every corpus; downloads nothing."""
        return [Corpus(dataset_name(name), name, corpus_identity(name)) for name in self.datasets]

    def loaded_corpora(self, on_message: Callable[[str], None]) -> list[Corpus]:
        """Name and digest of every corpus, downloaded where missing, and found long enough.

        Raises:
            CorpusError: as :func:`usages`.
        """
        texts = self.texts(on_message)
        for warning in dict.fromkeys(warning for usage in usages(self, texts) for warning in usage.warnings):
            on_message(f"warning: {warning}")
        return [
            Corpus(dataset_name(source), source, text.sha256) for source, text in zip(self.datasets, texts, strict=True)
        ]

    def plan(self, corpora: Sequence[Corpus], seeds: Sequence[int] | None = None) -> list[RunSpec]:
        """The runs on these corpora, with ``seeds`` if given, else the selection's own."""
        engine, precision = self.computed_by
        return make_plan(
            self.suite,
            self.profile,
            corpora,
            variants=self.variants,
            seeds=seeds if seeds is not None else self.seeds,
            settings=self.settings,
            engine=engine,
            precision=precision,
        )


def dataset_name(source: str) -> str:
    """The name of a data set in results: a built-in name, or the folder's own."""
    return source if source in DATASETS else folder_name(user_path(source, "data set", folder=True))


def select(
    suite: str,
    profile: str,
    datasets: Sequence[str] = (),
    variants: str | None = None,
    seeds: str | None = None,
    assignments: Sequence[str] = (),
    data_dir: Path | None = None,
    engine: str = AUTO,
    precision: str = AUTO,
    device: str = AUTO,
) -> Selection:
    """Read what the options name.

    Raises:
        ConfigError: something named does not exist or does not fit.
    """
    the_suite, the_profile = load_suite(suite), load_profile(profile)
    names = tuple(name for given in datasets for name in _split_names(given)) if datasets else the_profile.datasets
    _require_distinct(names)
    published = load_published(the_suite, suite)
    selection = Selection(
        suite=the_suite,
        published=published,
        hypotheses=load_hypotheses(the_suite, suite, published),
        profile=the_profile,
        datasets=tuple(dict.fromkeys(names)),
        variants=None if variants is None else _parse_variants(variants),
        seeds=None if seeds is None else parse_seeds(seeds),
        assignments=tuple(assignments),
        data_dir=data_dir,
        settings=parse_settings(assignments),
    )
    # every layer is checked before a corpus is looked for; what computes it takes longer to find out
    checked = replace(selection, engine="torch", precision="fp32")
    checked.plan([Corpus(dataset_name(name), name, "") for name in selection.datasets])
    return replace(selection, engine=engine, precision=precision, device=device)


def usages(selection: Selection, texts: Sequence[Text]) -> list[Usage]:
    """What every corpus comes to in every configuration, before anything is trained or written.

    Raises:
        CorpusError: a corpus cannot be used as it is configured.
    """
    found = []
    for source, text in zip(selection.datasets, texts, strict=True):
        plan = selection.plan([Corpus(dataset_name(source), source, "")], seeds=[0])
        configs = dict.fromkeys((spec.config.corpus, spec.config.training) for spec in plan)
        found += [examine(text, cut, training) for cut, training in configs]
    return found


def _require_distinct(sources: Sequence[str]) -> None:
    """Refuse an empty list, and two data sets of the same name."""
    if not sources:
        raise ConfigError("--dataset: no data set was named")
    by_name: dict[str, str] = {}
    for source in sources:
        other = by_name.setdefault(dataset_name(source), source)
        if other != source:
            raise ConfigError(f"--dataset: {other!r} and {source!r} would both be called {dataset_name(source)!r}")


def _parse_variants(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ConfigError(f"--variants {text!r}: no variant was named; `list` shows them")
    return names


def _split_names(given: str) -> list[str]:
    with suppress(InputError):  # a list of folders may be too long for a folder's name
        if user_path(given, "--dataset", folder=True).exists():
            return [given]
    return [name for name in given.split(",") if name]


def parse_seeds(text: str) -> tuple[int, ...]:
    """``3`` is seeds 1 to 3; ``1,2,5`` these; ``1000,`` seed 1000 alone.

    Raises:
        ConfigError: anything else.
    """
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    is_list = "," in text
    lowest, highest = (0, LARGEST_SEED) if is_list else (1, _MOST_SEEDS)
    if not numbers or min(numbers) < lowest or max(numbers) > highest:
        raise ConfigError(
            f"--seeds {text!r}: expected a count from 1 to {_MOST_SEEDS} such as 3, or a list such as 1,2,5 (1000, is "
            f"seed 1000 alone)"
        )
    return tuple(dict.fromkeys(numbers)) if is_list else tuple(range(1, numbers[0] + 1))
