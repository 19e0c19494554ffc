"""IMP's trainer: alternating gradient descent over any mixture of tasks (IMP, Algorithm 1)."""
