"""`python -m bench` lists the commands."""

COMMANDS = {
    "bench/run_grid.py": "train what is missing, evaluate a grid's cells, draw its tables and figures",
    "bench/train.py": "train a suite's contenders for equal seconds",
    "bench/sample.py": "sample labelled images from trained weights",
    "bench/audit.py": "make some kept numbers again, and compare",
    "bench/encode_latents.py": "encode a dataset's images into latents",
    "bench/reference.py": "make the reference statistics of a dataset's images",
    "paper_figures/make_all.py": "draw all tables, figures and claims from the records",
}


def main() -> None:
    """Print the commands."""
    width = max(map(len, COMMANDS))
    for command, purpose in COMMANDS.items():
        print(f"python {command:{width}}  {purpose}")
    print("Each has --help.")


if __name__ == "__main__":
    main()
