"""Figures from records.  `python benchmarks/figures.py RECORDS... --out curves.png` draws the learning curves of the arms."""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen on a cluster's node
from matplotlib import pyplot as plt  # noqa: E402

# Okabe and Ito's colours, tellable by colour-blind people; line style and marker tell the arms apart in grey
STYLES = [("#0072B2", "o", "-"), ("#D55E00", "s", "-"), ("#0072B2", "o", "--"), ("#D55E00", "s", "--"), ("#009E73", "^", "-"), ("#009E73", "^", "--"),
          ("#CC79A7", "D", "-"), ("#CC79A7", "D", "--")]


def draw_curves(records: list[dict], path: Path) -> None:
    """AP on the val split over steps, a line an arm."""
    metric = records[0]["metric"]
    figure, axes = plt.subplots(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    for record, (colour, marker, line) in zip(sorted(records, key=lambda r: r["round"]), STYLES):
        axes.plot([p["step"] for p in record["curve"]], [p[metric] for p in record["curve"]], color=colour, marker=marker, markersize=4,
                  linestyle=line, label=record["arm"])
    axes.set(xlabel="steps", ylabel=f"{metric} (val split, averaged weights)", ylim=(0, None), xlim=(0, None),
             title=f"{records[0]['recipe']}: {records[0]['labelled_images']} labelled images, policy {records[0]['settings']['policy']}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    from tables import load_records

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", nargs="+", type=Path, help="records.json of a run, record.json of cells, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("curves.png"), help="the figure to write")
    arguments = parser.parse_args()
    draw_curves(load_records(arguments.records), arguments.out)
