"""Files -> plan -> shards -> manifest."""
