"""IMP's encoder: one modality-agnostic Mixture-of-Experts Transformer.

Letters in shape annotations and einsum strings, the same everywhere:
    b batch    t frames   h w patches   n tokens   d width       a heads   k head dim
    f ffn      e experts  c capacity    v vocabulary             y classes s sampled tokens
    g routing groups      p a patch's values
"""
