"""The web that the demonstration builds for itself: its texts, its pages, and the server on loopback."""
