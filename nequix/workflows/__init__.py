"""What people do with a model, as functions: relax, predict, fine-tune, evaluate.

The command line only parses its options, calls these functions and prints what they return. ``nequix``
exports them: :func:`nequix.relax`, :func:`nequix.predict`, ....
"""
