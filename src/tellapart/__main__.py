"""The command `tellapart` as a module: python -m tellapart, torchrun -m tellapart."""

from tellapart.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
