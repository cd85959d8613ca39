"""A cart, for sessions to use."""

from money import Money


class Cart:
    def __init__(self):
        self.lines = []

    def total(self):
        return sum(line.price for line in self.lines)
