"""`python -m metering.cli`, which is what `./billing` calls."""

from metering.cli.app import main

main()
