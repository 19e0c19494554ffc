"""The quickstart: sample files to shards, training, a running service, and a report of it all."""
