"""The demo: the whole way from usage to a reconciled bill, on the real system, each bill checked to the cent.

`journey` is the way, `sources` are where usage comes from, `stripe_time` lets months go by at the
emulator, `outcome` is what came of it, `display` is how it is shown.
"""
