"""python -m wsseg_cli, which is what torchrun and accelerate start."""

from .main import main

if __name__ == "__main__":
    main()
