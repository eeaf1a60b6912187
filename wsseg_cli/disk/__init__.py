"""Files of this machine: opened only if they are regular, read within limits, written whole or not at all."""
