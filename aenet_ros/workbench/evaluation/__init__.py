"""Measures of fused pictures, and tables of them."""
