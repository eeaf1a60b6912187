"""The training loop and the per-image loop, the processes they run in, and checkpoints."""
