"""A sandbox of the WPP Platform: keys, 15-minute tokens, QR codes, messages, webhooks, faults.

It follows what clients of the real platform have seen; where no client has seen the behaviour, it
is a setting (`settings.py`). Start it with `python -m sandbox.platform`, or use the ASGI app of
`sandbox.platform.app`.
"""
