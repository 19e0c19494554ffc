"""An experiment is a Python function that returns an Experiment."""
