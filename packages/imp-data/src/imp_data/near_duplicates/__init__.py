"""Near duplicates: fingerprints of each modality, which of them collide, and what is then dropped.

No file of this folder knows Beam; `imp_data.pipelines.near_duplicates` runs it on many workers.
"""
