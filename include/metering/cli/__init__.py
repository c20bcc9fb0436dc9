"""The command line: `./billing <command>`. Each command is a module of its name; `app` puts them together."""

__version__ = "0.1.0"
