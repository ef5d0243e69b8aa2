"""Outputs of the authors' own code on seeded weights, and how ours gets the same weights.

`record.py` made the files *.safetensors from checkouts of the authors' repositories; nothing of their code is here.
"""
