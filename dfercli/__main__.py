"""Entry point of `python -m dfercli` and `accelerate launch -m dfercli`."""

from dfercli.cli import main

if __name__ == "__main__":
    main()
