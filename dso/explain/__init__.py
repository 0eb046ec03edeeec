"""`dso explain`: why a price is what it is and an order got what it got, in two sentences."""
