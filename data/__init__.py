"""What we know: records, units, delivery periods, networks and the readers that make them.

The bottom layer: it imports nothing else of this product.
"""
