"""Operators of this house: `from operators.transform import TransformOperator`."""
