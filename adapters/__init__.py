"""The built-in adapters. They enter by entry point, like anybody's; nothing imports them by this name."""
