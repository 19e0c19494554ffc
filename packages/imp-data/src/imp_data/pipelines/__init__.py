"""Files -> plan -> shards -> manifest."""

import logging


def _worth_saying(record: logging.LogRecord) -> bool:
    """Beam warns at import that Google's cloud clients are missing: no one here asked for them."""
    return not str(record.msg).startswith("apitools not found")


logging.getLogger().addFilter(_worth_saying)
