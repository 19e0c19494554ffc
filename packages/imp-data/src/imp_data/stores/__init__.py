"""How examples lie on disk: one writer and one random-access reader for each format."""
