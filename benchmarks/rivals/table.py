"""The table of `speed.py` as markdown."""

from rivals.measure import Line, Options
from selftrain.system.machine import hardware, versions

HEADER = ["work", "against", "ours", "theirs", "ratio", "target", "n", "spread of the ratio"]
PACKAGES = (
    "python",
    "torch",
    "torchvision",
    "albumentations",
    "opencv-python-headless",
    "pycocotools",
    "hotcoco",
)
NO_MEASUREMENT = "**Not a measurement**: tiny sizes, to see that the programs run."
MEASUREMENT = (
    "Medians of n repeats after a warm-up; the sides took turns. "
    "The ratio is their cost over ours, of each repeat."
)


def markdown(options: Options, lines: list[Line], load: float) -> str:
    """Conditions, remarks and table.  `load`: of the machine by other programs, before the first row."""
    machine, installed = hardware(processes=1), versions()
    rows = ["| " + " | ".join(line.columns(verdict=not options.quick)) + " |" for line in lines]
    text = [
        "# Speed",
        "",
        NO_MEASUREMENT if options.quick else MEASUREMENT,
        "",
        f"- machine: {machine['device']}, {machine['cores']} cores, {machine['system']}; "
        f"load by other programs at the start: {load:.1f}",
        f"- threads: {options.threads}; of the input pipeline 1; "
        "evaluation and json as the libraries have it",
        f"- versions: {', '.join(f'{name} {installed[name]}' for name in PACKAGES)}",
        *(f"- {remark}" for remark in dict.fromkeys(line.remark for line in lines) if remark),
        "",
        "| " + " | ".join(HEADER) + " |",
        "|---|---|---:|---:|---:|---|---:|---:|",
        *rows,
    ]
    return "\n".join(text) + "\n"
