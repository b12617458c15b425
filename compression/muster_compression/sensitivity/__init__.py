"""How much each layer of a model matters: one layer at a time is quantized or pruned, and the outputs are compared.

In scope: measuring and ranking layers. Not in scope: what to do about them (mixed precision, structured pruning and the
report do that), nor any training.
"""
