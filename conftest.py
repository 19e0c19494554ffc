"""Under pytest every annotation of ours is checked, jaxtyping's too; in production it is free."""

import jaxtyping

import typechecking

PACKAGES = ["imp_data", "imp_model", "imp_train", "imp_eval"]

jaxtyping.install_import_hook(PACKAGES, f"{typechecking.__name__}.typechecked")
