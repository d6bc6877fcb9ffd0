"""What is compared: variants as overridden fields, and the numbers published for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ablations.experiment.kinds import HYPOTHESES_KEYS, KINDS, Layout, VariantsFile
from ablations.experiment.names import Name
from ablations.experiment.variant import Variant
from ablations.experiment.yaml_files import check, load_yaml, read_yaml
from awd.errors import ConfigError
from awd.messages import unknown
from awd.paths import user_path

__all__ = ["Perplexities", "Published", "Suite", "Variant", "find_file", "load_published", "load_suite", "named_files"]

HERE = Path(__file__).parent
DEFAULT_SUITE = "table5"
_SINGULAR = {"suites": "suite", "profiles": "profile", "searches": "search"}
_FORBID_EXTRA = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Suite:
    """Variants compared with a baseline.

    Attributes:
        name: what it is called in results and reports.
        title: what it compares, in one line.
        baseline: name of the variant that the others are compared with.
        variants: the rows, in order.
        published: file with published numbers, relative to the suite's; ``None`` without.
        hypotheses: file with what was concluded from them, likewise.
        kind: of :data:`ablations.experiment.kinds.KINDS`; the report is made for it.
        layout: how the variants belong together, where there is more to know than their order.
    """

    name: Name
    title: str
    baseline: str
    variants: tuple[Variant, ...]
    published: str | None = None
    hypotheses: Annotated[str | None, Field(validation_alias=HYPOTHESES_KEYS)] = None
    kind: str = "removal"
    layout: Layout = None

    def variant(self, name: str) -> Variant:
        """The variant of that name.

        Raises:
            ConfigError: there is none; the message gives the nearest.
        """
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise ConfigError(unknown("variant", name, [variant.name for variant in self.variants]))


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Perplexities:
    """Validation and test perplexity."""

    valid: float
    test: float


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Published:
    """Perplexities that others published for a suite's variants.

    Attributes:
        source: where they are from.
        rows: by variant, then by data set.
    """

    source: str
    rows: dict[str, dict[str, Perplexities]]


def named_files(kind: str) -> dict[str, Path]:
    """The files of one kind (``suites``, ``profiles`` or ``searches``) that come with the package, by name."""
    return {path.stem: path for path in sorted((HERE / kind).glob("*.yaml"))}


def find_file(kind: str, name: str) -> Path:
    """The file of a suite, profile or search: a name that comes with the package, or a path that ends in .yaml or .yml.

    Raises:
        ConfigError: there is none.
    """
    known = named_files(kind)
    if name in known:
        return known[name]
    if name.endswith((".yaml", ".yml")):
        return user_path(name, _SINGULAR[kind], folder=False)
    raise ConfigError(unknown(_SINGULAR[kind], name, known) + "; or give the path of a .yaml file")


def load_suite(name: str) -> Suite:
    """Read a suite by name or path.

    Raises:
        ConfigError: unknown, unreadable, a repeated variant, or a baseline that is not among the variants.
    """
    path = find_file("suites", name)
    values = read_yaml(path)
    kind = values.get("kind", "removal") if isinstance(values, dict) else "removal"
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"{path}: kind: {unknown('kind', str(kind), KINDS)}")
    file = check(values, KINDS[kind], str(path))
    expansion = file.expanded(str(path), lambda other: _rows_of(other, path))
    suite = Suite(
        file.name,
        file.title,
        expansion.baseline,
        expansion.variants,
        file.published,
        file.hypotheses,
        kind,
        expansion.layout,
    )
    names = [variant.name for variant in suite.variants]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"{path}: variants: the name {repeated[0]!r} stands twice")
    if suite.baseline not in names:
        raise ConfigError(f"{path}: baseline: {unknown('variant', suite.baseline, names)}")
    return suite


def _rows_of(name: str, asked_by: Path) -> VariantsFile:
    """The file of plain variants that another is made of; a path is relative to the other's."""
    known = named_files("suites")
    path = known[name] if name in known else asked_by.parent / name
    if path not in known.values() and path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{asked_by}: of: {unknown('suite', name, known)}; or give the path of a .yaml file")
    file = load_yaml(path, VariantsFile)
    if file.baseline not in [variant.name for variant in file.variants]:
        raise ConfigError(f"{path}: baseline: {unknown('variant', file.baseline, [one.name for one in file.variants])}")
    return file


def load_published(suite: Suite, suite_name: str) -> Published | None:
    """The numbers published for a suite, if it names a file of them.

    Raises:
        ConfigError: the file is unreadable, or has a row that the suite lacks.
    """
    if suite.published is None:
        return None
    path = find_file("suites", suite_name).parent / suite.published
    published = load_yaml(path, Published)
    names = [variant.name for variant in suite.variants]
    for name in published.rows:
        if name not in names:
            raise ConfigError(f"{path}: rows: {unknown('variant', name, names)}")
    return published
