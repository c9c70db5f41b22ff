"""The base of both services: settings, log, store, gRPC server, shutdown.

It knows nothing of campaigns, and neither service imports the other through it.
"""
