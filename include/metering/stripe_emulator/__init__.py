"""A loopback stand-in for the part of Stripe that metered billing talks to.

It keeps state, checks each request and each of its own replies against pinned shapes, and behaves by the
numbered assumptions of ``assumptions.md``. It moves no money and proves nothing about Stripe itself.
"""
