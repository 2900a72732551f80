"""`python -m dfercli` and `accelerate launch -m dfercli` run the same command as `dfer`."""

from dfercli.cli import main

if __name__ == "__main__":
    main()
