"""Processes that train together: how they connect, agree, stop, and recover from running out of memory."""
