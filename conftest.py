"""Under pytest every jaxtyping annotation of ours is checked; in production it costs nothing."""

import jaxtyping

PACKAGES = ["imp_data", "imp_model", "imp_train", "imp_eval"]

jaxtyping.install_import_hook(PACKAGES, "beartype.beartype")
