"""A reason for every answer: why a price is what it is, why an order got what it got."""
