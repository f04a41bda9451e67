"""Processes that train together: how they meet, agree, stop, and survive running out of memory."""
