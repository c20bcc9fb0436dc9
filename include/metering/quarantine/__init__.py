"""The quarantine: what could not be counted, looked at, mended, sent again or discarded, by API and by command.

`entries` finds them and says what was done about each; `mending` changes what is sent in their place; `resending` sends
them again by the one way in which events land.
"""
