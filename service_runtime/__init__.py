"""What a process of either service stands on: settings, log, store, gRPC server, stop.

It knows nothing of campaigns, and neither service imports the other through it.
"""
