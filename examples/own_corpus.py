"""A corpus of your own, from text to report.

    python examples/own_corpus.py path/to/folder

The folder holds train.txt, valid.txt and test.txt: words with blanks between them, one sentence per line. Without a
folder, three small files are made up.
"""

import random
import sys
from pathlib import Path

import ablations


def make_up_a_text(folder: Path) -> Path:
    """Sentences about animals, which can be learned in seconds."""
    draw = random.Random(1)
    folder.mkdir(exist_ok=True)
    for split, lines in (("train", 1500), ("valid", 60), ("test", 60)):
        who, does = ["cat", "dog", "owl", "hen", "fox"], ["sees", "hears", "finds"]
        told = [f"the {draw.choice(who)} {draw.choice(does)} a {draw.choice(who)}\n" for _ in range(lines)]
        (folder / f"{split}.txt").write_text("".join(told), encoding="utf-8")
    return folder


folder = Path(sys.argv[1]) if len(sys.argv) > 1 else make_up_a_text(Path("made-up-text"))

# two variants and two seeds on a tiny network; leave `settings` out for the demo's own sizes
data = ablations.run(
    datasets=str(folder),
    variants=["full", "no-weight-drop"],
    seeds=2,
    settings={"model.embedding_size": 16, "model.hidden_size": 24, "training.epochs": 2, "finetuning.epochs": 1},
)
print(data.frame[["variant", "valid_mean", "test_mean"]].to_string(index=False))
print(ablations.report(data) / "index.html")
