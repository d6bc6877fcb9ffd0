"""Read the published results, print what each part is worth, and draw the figure.

    python examples/published_results.py

It trains nothing.
"""

from pathlib import Path

import ablations

REFERENCE = Path(__file__).resolve().parents[1] / "results" / "reference"

data = ablations.load(REFERENCE, profile="small")

# one row per data set, variant and split; differences of log-perplexity are about per cent
valid = data.differences.query("split == 'valid'")
for row in valid.to_dict("records"):
    change, low, high = (100 * row[name] for name in ("log_difference", "log_low", "log_high"))
    print(f"{row['dataset']:<10} {row['variant']:<22} {change:+6.1f}%  [{low:+.1f}, {high:+.1f}]")

figure = ablations.figures.differences(data, width=7)
figure.savefig("differences.png", dpi=200)
print("differences.png")
