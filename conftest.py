"""Under pytest every annotation of ours is checked, jaxtyping's too; in production it is free."""

import importlib.machinery
import sys

import jaxtyping

import typechecking

PACKAGES = ["imp_data", "imp_model", "imp_train", "imp_eval"]

jaxtyping.install_import_hook(PACKAGES, f"{typechecking.__name__}.typechecked")
# It goes behind pytest's own hook, or tests would lose their assertions' details and fixtures
# their `yield`.
_hook = sys.meta_path.pop(0)
sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), _hook)  # type: ignore[arg-type]
