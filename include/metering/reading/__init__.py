"""The reading side of the service: what a team has used and owes, its events, and what became of each.

One file a noun; `rooms` holds their routes. Nothing here writes, and everything is asked for on behalf of one team.
"""
