"""The WPP Platform, played: keys, 15-minute tokens, QR codes, messages, webhooks, and faults on demand.

Written from its clients' view of it; what no client has ever seen is a setting here (`settings.py`).
Start it with `python -m sandbox.platform`, or take the ASGI app from `sandbox.platform.app`.
"""
