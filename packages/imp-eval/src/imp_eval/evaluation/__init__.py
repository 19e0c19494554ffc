"""Scores of a bundle as papers report them: zero-shot, retrieval, linear probe, nearest neighbours.

benchmark      a SPEC -> examples by split, classes, prompts
examples       what is embedded: files of a source, a built dataset's rows, texts
pooling        the bundle's encoder: arrays -> pooled encodings -> unit vectors of a pair
features       examples -> pooled encodings, decoded ahead and cached on disk
encodings      each part and text of a benchmark, embedded once
tasks          the protocols: zero-shot here, search, supervised (linear_probe, neighbours)
classification accuracies, average_precision, per class
intervals      bootstrap
run            every benchmark of a bundle -> Results; report and plots write them
"""
