"""The layers' kernels, and the oracle they are held to."""
