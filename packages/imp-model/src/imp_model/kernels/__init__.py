"""Oracles of the layers' fast paths."""
