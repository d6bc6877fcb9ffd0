"""Command line of the ablation suite; ``python run_ablations.py --help`` teaches it."""

from ablations.cli.app import main

if __name__ == "__main__":
    main()
