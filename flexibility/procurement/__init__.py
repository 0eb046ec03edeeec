"""Flexibility procurement: congestion points, contracts, requests, offers and orders.

The messages keep the meanings of UFTP (USEF Flex Trading Protocol 3.0, shapeshifter-specification):
a request names the periods in which power is requested and those in which there is room, an offer
holds options of which at most one is ordered, an order copies an option with an activation factor.
Power inside is injection in MW; `flexibility.procurement.border` alone knows W and UFTP's sign.
"""
