"""Generated from proto/imp_proto by tools/gen_protos.py; do not edit."""
